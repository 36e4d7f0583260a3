//! The threads that send. Each has a runtime, connections and a share of the arrivals of its own:
//! an arrival waits for no more than what its own thread has to do.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::timeout_at,
};

use super::{
    pacer::{self, Arrival},
    rig::Reach,
    scenario::{Load, Target},
    schedule::Schedule,
};
use crate::target::{Door, Shared, Slot, permits};

/// A runtime looks at its arrivals and its sockets after so many tasks. With tokio's own an arrival
/// waits for a millisecond of answers.
const TASKS_BETWEEN_LOOKS: u32 = 8;
/// Tokio's own: the bare client is the one that everybody has.
const TASKS_BETWEEN_LOOKS_OF_BARE: u32 = 61;

/// The threads of a run. Dropping them ends them, with what is open abandoned.
pub(crate) struct Workers {
    threads: Vec<JoinHandle<()>>,
    /// Where the arrivals of each go, until they are taken.
    due: Vec<mpsc::UnboundedSender<Arrival>>,
    /// Set when nothing more is to be sent.
    stop: Arc<AtomicBool>,
    /// Closed at the same time: what waits for its turn is not sent either.
    places: Arc<Semaphore>,
    /// Set when nobody waits any more for what is open.
    over: watch::Sender<bool>,
    /// Says nothing; closed when the last thread has ended.
    running: mpsc::Receiver<()>,
}

/// What a thread is made of.
struct Worker {
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    over: watch::Receiver<bool>,
    running: mpsc::Sender<()>,
    shared: Arc<Shared>,
    timeout: Duration,
}

impl Workers {
    /// Starts `load.threads` of them, and connects.
    ///
    /// # Errors
    /// When the target cannot be reached.
    pub async fn start(reach: &Reach, load: &Load, shared: &Arc<Shared>) -> Result<Workers> {
        let places = permits(load);
        let (over, is_over) = watch::channel(false);
        let (running, ended) = mpsc::channel(1);
        let mut workers = Workers {
            threads: Vec::new(),
            due: Vec::new(),
            stop: Arc::default(),
            places: Arc::clone(&places),
            over,
            running: ended,
        };
        for number in 0..load.threads() {
            let (due, arrivals) = mpsc::unbounded_channel();
            let (ready, is_ready) = oneshot::channel();
            let worker = Worker {
                arrivals,
                over: is_over.clone(),
                running: running.clone(),
                shared: Arc::clone(shared),
                timeout: Duration::from_secs_f64(load.timeout_s),
            };
            let door = (reach.clone(), share_of(load, number), Arc::clone(&places));
            workers.due.push(due);
            let name = format!("send-{number}");
            let thread = thread::Builder::new().name(name);
            workers.threads.push(thread.spawn(move || worker.run(door, ready))?);
            is_ready.await.context("a sending thread ended at once")??;
        }
        Ok(workers)
    }

    /// Gives each of them its arrivals, until the last or until [`Workers::stop`].
    pub fn pace(&mut self, schedule: &Schedule, start: Instant) {
        pacer::pace(schedule, start, &self.stop, std::mem::take(&mut self.due));
    }

    /// Nothing more is sent.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.places.close();
    }

    /// Waits until every arrival has ended, and every thread with them.
    ///
    /// # Errors
    /// When one panicked: its payments are missing in the books.
    pub async fn ended(&mut self) -> Result<()> {
        while self.running.recv().await.is_some() {}
        for thread in self.threads.drain(..) {
            ensure!(thread.join().is_ok(), "a sending thread panicked");
        }
        Ok(())
    }

    /// Abandons what is open.
    pub fn abandon(&self) {
        self.over.send_replace(true);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.due.clear();
        self.stop();
        self.abandon();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// The load as thread `number` has it: with its share of the connections.
fn share_of(load: &Load, number: u32) -> Load {
    let (threads, all) = (load.threads(), load.connections);
    let connections = all / threads + u32::from(number < all % threads);
    Load { connections: connections.max(1), ..load.clone() }
}

impl Worker {
    fn run(
        self,
        (reach, load, permits): (Reach, Load, Arc<Semaphore>),
        ready: oneshot::Sender<Result<()>>,
    ) {
        let tasks = match load.target {
            Target::Bare => TASKS_BETWEEN_LOOKS_OF_BARE,
            _ => TASKS_BETWEEN_LOOKS,
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().event_interval(tasks).build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        let mut over = self.over.clone();
        runtime.block_on(async {
            let opened = tokio::select! {
                opened = Door::open(&reach, &load, permits) => opened,
                // Nobody waits for the answer any more.
                _ = over.wait_for(|over| *over) => return,
            };
            match opened {
                Ok(door) => {
                    let _ = ready.send(Ok(()));
                    self.all(&Arc::new(door)).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    }

    /// Begins every arrival that it is given and waits for all of them.
    async fn all(self, door: &Arc<Door>) {
        let Worker { mut arrivals, mut over, running: _running, shared, timeout } = self;
        // Closed: nobody waits any more either.
        let over = async move { drop(over.wait_for(|over| *over).await) };
        let mut over = std::pin::pin!(over);
        let (mut tasks, mut more) = (JoinSet::new(), true);
        while more || !tasks.is_empty() {
            tokio::select! {
                biased;
                arrival = arrivals.recv(), if more => match arrival {
                    Some(arrival) => {
                        tasks.spawn(one((&shared, timeout), door, arrival));
                    }
                    None => more = false,
                },
                () = &mut over => {
                    tasks.shutdown().await;
                    break;
                }
                Some(done) = tasks.join_next() => {
                    if let Err(Ok(panic)) = done.map_err(JoinError::try_into_panic) {
                        resume_unwind(panic);
                    }
                }
            }
        }
    }
}

/// One arrival, until its outcomes or its deadline.
fn one(
    (shared, timeout): (&Arc<Shared>, Duration),
    door: &Arc<Door>,
    arrival: Arrival,
) -> impl Future<Output = ()> + use<> {
    let (shared, door) = (Arc::clone(shared), Arc::clone(door));
    let deadline = arrival.planned + timeout;
    async move {
        let mut slot = Slot::begin(shared, arrival);
        let done = timeout_at(deadline.into(), door.send(&mut slot)).await;
        if matches!(done, Ok(Err(_))) && !slot.is_sent() {
            // Nothing more is sent: it is abandoned.
            return;
        }
        slot.finish(done.ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_share_the_connections_and_each_has_one() {
        let load = Load { connections: 7, threads: 3, ..Load::default() };
        let shares: Vec<u32> = (0..3).map(|number| share_of(&load, number).connections).collect();
        assert_eq!(shares, [3, 2, 2]);
    }
}
