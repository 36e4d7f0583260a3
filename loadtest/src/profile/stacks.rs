//! Samples of a profiler, folded: how often each thread was where.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
};

use super::component::{self, Component};

/// Addresses from here on are the kernel's, on every machine that Linux runs on with 64 bits.
const KERNEL: u64 = 0xffff_0000_0000_0000;
/// What `perf script` names a frame that it could not read.
const UNKNOWN: &str = "[unknown]";
/// Functions that only pass a call on: beginnings of their names. They would fill the picture.
const PLUMBING: [&str; 12] = [
    "<&mut F as core::future",
    "<core::future",
    "<core::pin::Pin",
    "__clone",
    "clone3",
    "core::ops::function",
    "start_thread",
    "std::panic",
    "std::sys::backtrace",
    "std::sys::thread",
    "<std::sys::thread",
    "std::thread",
];

/// A function, called from its parent.
#[derive(Debug)]
pub(super) struct Frame {
    pub name: String,
    pub component: Component,
    /// Samples in it and in what it called.
    pub count: u64,
    pub children: BTreeMap<String, Frame>,
}

impl Frame {
    /// A frame without samples.
    pub fn new(name: &str, component: Component) -> Frame {
        Frame { name: name.to_owned(), component, count: 0, children: BTreeMap::new() }
    }

    /// Adds a sample: `functions` from the outermost to the innermost, each with its part.
    fn add(&mut self, functions: &[(String, Component)]) {
        self.count += 1;
        if let [(name, component), inner @ ..] = functions {
            let child = self.children.entry(name.clone());
            child.or_insert_with(|| Frame::new(name, *component)).add(inner);
        }
    }
}

/// Everything that was sampled.
#[derive(Debug)]
pub(super) struct Stacks {
    /// Its children are the threads, by their names.
    pub all: Frame,
    /// Samples by thread and by the part that the innermost function worked for.
    pub table: BTreeMap<String, BTreeMap<Component, u64>>,
}

impl Stacks {
    /// Reads what `perf script -F comm,tid,ip,sym` printed: a line for the thread, one for each
    /// frame from the innermost out, an empty line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(script: impl BufRead) -> io::Result<Stacks> {
        let all = Frame::new("all", Component::Other);
        let mut stacks = Stacks { all, table: BTreeMap::new() };
        let (mut thread, mut frames) = (None, Vec::new());
        for line in script.split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if line.trim().is_empty() {
                stacks.sample(thread.take(), &mut frames);
            } else if line.starts_with([' ', '\t']) {
                frames.extend(frame(line.trim()));
            } else {
                stacks.sample(thread.take(), &mut frames);
                thread = Some(name_of(&line));
            }
        }
        stacks.sample(thread, &mut frames);
        Ok(stacks)
    }

    fn sample(&mut self, thread: Option<String>, frames: &mut Vec<(String, bool)>) {
        let Some(thread) = thread else { return };
        let mut functions = vec![(thread.clone(), Component::Other)];
        // Who helps works for whom it was called by.
        let mut caller = Component::Other;
        for (name, in_kernel) in frames.drain(..).rev() {
            caller = component::of(&name, in_kernel).unwrap_or(caller);
            if !PLUMBING.iter().any(|start| name.starts_with(start)) {
                functions.push((name, caller));
            }
        }
        *self.table.entry(thread).or_default().entry(caller).or_default() += 1;
        self.all.add(&functions);
    }
}

/// The thread of `arbiter-0  5258`. Names may hold spaces.
fn name_of(line: &str) -> String {
    let line = line.trim_end();
    let name = line.rsplit_once(' ').map_or(line, |(name, _)| name);
    name.trim_end().to_owned()
}

/// The function of `13cc8eb tokio::run`, and whether it is of the kernel.
fn frame(line: &str) -> Option<(String, bool)> {
    let (address, name) = line.split_once(' ')?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let name = name.trim();
    // All ones is what stands for "no more".
    let in_kernel = address >= KERNEL && address != u64::MAX;
    (name != UNKNOWN || in_kernel).then(|| (name.replace("{{closure}}", "{closure}"), in_kernel))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
invoice check  5264 
\t         13cc8eb rustsecp256k1_v0_10_0_fe_mul_inner
\t          8ab3d9 fulgurite::check::invoice::Reader::payee
\t           891f4 start_thread

arbiter-0  5258 
\t          16d92c __memmove_avx512_unaligned_erms
\t          a057a1 h2::proto::streams::buffer_pending
\t          b2fc6c fulgurite_lnd::grpc::drive::{{closure}}
\tffffffffffffffff [unknown]

arbiter-0  5258 
\tffffffff815f60a6 tcp_sendmsg
\t          b2fc6c fulgurite_lnd::grpc::drive::{{closure}}
";

    #[test]
    fn samples_are_folded_by_thread_and_belong_to_who_was_helped() {
        let stacks = Stacks::read(SCRIPT.as_bytes()).unwrap();
        assert_eq!(stacks.all.count, 3);
        let of = |thread: &str, component| stacks.table[thread].get(&component).copied();
        assert_eq!(of("invoice check", Component::Signatures), Some(1));
        assert_eq!(of("arbiter-0", Component::Rpc), Some(1));
        assert_eq!(of("arbiter-0", Component::Kernel), Some(1));
        let arbiter = &stacks.all.children["arbiter-0"];
        let drive = &arbiter.children["fulgurite_lnd::grpc::drive::{closure}"];
        assert_eq!((arbiter.count, drive.count, drive.children.len()), (2, 2, 2));
        // What every thread has is left out.
        let check = &stacks.all.children["invoice check"];
        assert!(check.children.contains_key("fulgurite::check::invoice::Reader::payee"));
    }

    #[test]
    fn nothing_and_nonsense_are_no_samples() {
        assert_eq!(Stacks::read(&b""[..]).unwrap().all.count, 0);
        let stacks = Stacks::read(&b"\n\t zz\n\xff\xfe 7\n\t12 f\n"[..]).unwrap();
        assert_eq!(stacks.all.count, 1);
    }
}
