//! Asks the engine's admin listener.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// True when the engine says that it takes orders and can pay. Blocks for some milliseconds.
pub fn is_ready(admin: SocketAddr) -> bool {
    get(admin, "/readyz").is_ok_and(|(status, _)| status == 200)
}

/// The page of metrics. Blocks for some milliseconds.
///
/// # Errors
/// When the engine does not answer with one.
pub(crate) fn metrics(admin: SocketAddr) -> io::Result<String> {
    match get(admin, "/metrics")? {
        (200, page) => Ok(page),
        (status, _) => Err(io::Error::other(format!("/metrics answers {status}"))),
    }
}

/// The status and the body of one HTTP request to this machine.
fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    // HTTP/1.0: the answer ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    code.zip(body).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
