//! A cluster: one link per node, and which node has which slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use turnpike_core::quota::CountError;

use super::command::Command;
use super::connect::{Address, ConnectError, Place, Target, text};
use super::failures::Failures;
use super::link::Link;
use super::within;

/// Nodes that are known at most.
const NODES_MAX: usize = 1_000;
/// The map of slots is asked for this often, and whenever a node says that it is wrong.
const REFRESH: Duration = Duration::from_secs(30);
/// Pause between attempts to get the map.
const PAUSE: Duration = Duration::from_millis(250);
/// One node may take this long to answer with its map.
const NODE_MAX: Duration = Duration::from_secs(1);
/// Redirections of one command that are followed: to the new owner of a slot, and from there while it moves on.
const REDIRECTIONS_MAX: usize = 2;
/// Nodes whose failures are logged together at most.
const CAUSES_MAX: usize = 5;

/// Slots from, slots to, and who has them.
type Slots = Vec<(u16, u16, Address)>;
type Results = Vec<Result<Value, CountError>>;

#[derive(Debug)]
struct Inner {
    name: &'static str,
    target: Target,
    with_scripts: bool,
    links: Mutex<HashMap<Address, Link>>,
    slots: Mutex<Slots>,
    refresh: Notify,
    /// Attempts to get the map that failed.
    log: Failures,
}

#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A cluster of servers.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    inner: Arc<Inner>,
    _task: Arc<Task>,
}

impl Cluster {
    pub(super) fn start(name: &'static str, target: Target, with_scripts: bool) -> Self {
        let inner = Arc::new(Inner {
            name,
            target,
            with_scripts,
            links: Mutex::default(),
            slots: Mutex::default(),
            refresh: Notify::new(),
            log: Failures::default(),
        });
        let task = tokio::spawn(keep_map(Arc::clone(&inner)));
        Self {
            inner,
            _task: Arc::new(Task(task.abort_handle())),
        }
    }

    pub(super) fn links(&self) -> Vec<Link> {
        let links = self.inner.links.lock();
        links
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Runs commands on the nodes that have their keys, all at a time.
    pub(super) async fn run(
        &self,
        commands: &[Command],
        limit: Duration,
    ) -> Vec<Result<Value, CountError>> {
        let mut results: Results = commands
            .iter()
            .map(|_| Err(CountError::NotConnected))
            .collect();
        let mut by_node: HashMap<Address, Vec<usize>> = HashMap::new();
        for (index, command) in commands.iter().enumerate() {
            match self.inner.node_of(&command.key) {
                Some(node) => by_node.entry(node).or_default().push(index),
                None => self.inner.refresh.notify_one(),
            }
        }
        let mut running = JoinSet::new();
        for (node, indices) in by_node {
            let own = chosen(commands, &indices);
            let cluster = self.clone();
            running.spawn(async move { (indices, cluster.run_on(node, &own, limit).await) });
        }
        gather(running, &mut results).await;
        results
    }

    /// Runs commands on one node, and on those that it redirects to.
    async fn run_on(&self, node: Address, commands: &[Command], limit: Duration) -> Results {
        let deadline = Instant::now() + limit;
        let mut results = self.inner.link(node.clone()).run(commands, limit).await;
        let mut asked = vec![node; commands.len()];
        for _ in 0..REDIRECTIONS_MAX {
            let mut elsewhere: HashMap<(bool, Address), Vec<usize>> = HashMap::new();
            for (index, (result, asked)) in results.iter().zip(&mut asked).enumerate() {
                self.inner.note(result);
                if let Some((asking, address)) = redirection(result, asked) {
                    asked.clone_from(&address);
                    elsewhere.entry((asking, address)).or_default().push(index);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if elsewhere.is_empty() || left.is_zero() {
                break;
            }
            let mut running = JoinSet::new();
            for ((asking, address), indices) in elsewhere {
                let own = chosen(commands, &indices);
                let link = self.inner.link(address);
                running.spawn(async move {
                    let results = link.run_between(&own, left, asking).await;
                    (indices, results)
                });
            }
            gather(running, &mut results).await;
        }
        results
    }

    /// An operation on this key that the caller itself did not wait for any longer counts as a time-out of its node.
    pub(super) fn note_timeout(&self, key: &str) {
        if let Some(node) = self.inner.node_of(key) {
            self.inner.link(node).note_timeout();
        }
    }
}

fn chosen(commands: &[Command], indices: &[usize]) -> Vec<Command> {
    indices
        .iter()
        .map(|index| commands[*index].clone())
        .collect()
}

/// Puts the results of all tasks where they belong.
async fn gather(mut running: JoinSet<(Vec<usize>, Results)>, results: &mut Results) {
    while let Some(ended) = running.join_next().await {
        let Ok((indices, own)) = ended else { continue };
        for (index, result) in indices.into_iter().zip(own) {
            results[index] = result;
        }
    }
}

/// `MOVED 3999 127.0.0.1:6381`, `ASK …`: whether it is `ASK`, and where to go. An empty host is the node that answered.
fn redirection(result: &Result<Value, CountError>, from: &Address) -> Option<(bool, Address)> {
    let Err(CountError::Store(text)) = result else {
        return None;
    };
    let mut words = text.split(' ');
    let asking = match words.next()? {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let (host, port) = words.nth(1)?.rsplit_once(':')?;
    let host = if host.is_empty() { &*from.0 } else { host };
    Some((asking, (host.into(), port.parse().ok()?)))
}

impl Inner {
    /// Looks whether a result says that the map of slots may be wrong.
    fn note(&self, result: &Result<Value, CountError>) {
        let is_doubtful = match result {
            Err(CountError::NotConnected | CountError::Suspended) => true,
            Err(CountError::Store(text)) => {
                text.starts_with("MOVED") || text.starts_with("CLUSTERDOWN")
            }
            _ => false,
        };
        if is_doubtful {
            self.refresh.notify_one();
        }
    }

    fn node_of(&self, key: &str) -> Option<Address> {
        let slot = slot(key.as_bytes());
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots
            .iter()
            .find(|(from, to, _)| (*from..=*to).contains(&slot))
            .map(|(_, _, address)| address.clone())
    }

    fn link(&self, address: Address) -> Link {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&address) {
            return link.clone();
        }
        let link = Link::start(
            self.name,
            self.target.node(address.clone()),
            self.with_scripts,
        );
        if links.len() < NODES_MAX {
            links.insert(address, link.clone());
        }
        link
    }

    /// Nodes to ask for the map, those first that answered lately.
    fn known(&self) -> Vec<Address> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<Address> = links.keys().cloned().collect();
        known.sort_by_key(|address| !links[address].is_open());
        if let Place::Cluster { nodes } = &self.target.place {
            known.extend(
                nodes
                    .iter()
                    .filter(|node| !links.contains_key(*node))
                    .cloned(),
            );
        }
        known
    }

    /// Takes a new map over. Links to nodes that are gone end.
    fn learn(&self, slots: Slots) {
        let links: Vec<Address> = slots
            .iter()
            .map(|(_, _, address)| address.clone())
            .collect();
        self.links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|address, _| links.contains(address));
        *self.slots.lock().unwrap_or_else(PoisonError::into_inner) = slots;
        for address in links {
            self.link(address);
        }
    }

    /// The map of the first node that tells it, or why none does.
    async fn map(&self) -> Result<Slots, String> {
        let mut causes = Vec::new();
        for node in self.known() {
            let (host, port) = node.clone();
            match within(NODE_MAX, self.ask(node)).await {
                Some(Ok(slots)) if !slots.is_empty() => return Ok(slots),
                Some(Ok(_)) => causes.push(format!("{host}:{port} knows no slots")),
                Some(Err(error)) => causes.push(error.to_string()),
                None => causes.push(format!(
                    "{host}:{port}: no answer within {} ms",
                    NODE_MAX.as_millis()
                )),
            }
            causes.truncate(CAUSES_MAX);
        }
        Err(causes.join("; "))
    }

    async fn ask(&self, node: Address) -> Result<Slots, ConnectError> {
        let from = node.clone();
        let mut session = self.target.open_node(node).await?;
        let mut ask = redis::cmd("CLUSTER");
        ask.arg("SLOTS");
        let answer = session.ask(&ask).await?;
        Ok(read_slots(&answer, &from))
    }
}

/// The primaries of `CLUSTER SLOTS`; replicas are never read.
fn read_slots(answer: &Value, from: &Address) -> Slots {
    let Value::Array(ranges) = answer else {
        return Vec::new();
    };
    ranges
        .iter()
        .take(16_384)
        .filter_map(|range| {
            let Value::Array(parts) = range else {
                return None;
            };
            let [first, last, Value::Array(primary), ..] = parts.as_slice() else {
                return None;
            };
            let host = primary.first().map(text).filter(|host| !host.is_empty());
            let host = host.map_or_else(|| from.0.clone(), Into::into);
            let port = text(primary.get(1)?).parse().ok()?;
            Some((
                text(first).parse().ok()?,
                text(last).parse().ok()?,
                (host, port),
            ))
        })
        .collect()
}

async fn keep_map(inner: Arc<Inner>) {
    loop {
        match inner.map().await {
            Ok(slots) => {
                inner.learn(slots);
                let _ = tokio::time::timeout(REFRESH, inner.refresh.notified()).await;
            }
            Err(causes) => {
                if let Some(number) = inner.log.note() {
                    tracing::warn!(
                        redis = inner.name,
                        failures = number,
                        "no node of the Redis cluster tells its slots: {causes}"
                    );
                }
            }
        }
        // Many answers may say at the same time that the map is wrong.
        tokio::time::sleep(PAUSE).await;
    }
}

/// The slot of a key: CRC-16 (XMODEM) of what stands in its first braces, else of all of it.
fn slot(key: &[u8]) -> u16 {
    let tag = key
        .iter()
        .position(|byte| *byte == b'{')
        .and_then(|open| {
            let rest = &key[open + 1..];
            let close = rest.iter().position(|byte| *byte == b'}')?;
            (close > 0).then(|| &rest[..close])
        })
        .unwrap_or(key);
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}"), slot(b"{bar"));
    }

    #[test]
    fn a_redirection_names_the_node() {
        let from: Address = ("a".into(), 1);
        let told = |text: &str| redirection(&Err(CountError::Store(text.into())), &from);
        assert_eq!(
            told("MOVED 3999 127.0.0.1:6381"),
            Some((false, ("127.0.0.1".into(), 6381)))
        );
        assert_eq!(told("ASK 3999 :6381"), Some((true, ("a".into(), 6381))));
        assert_eq!(told("ERR no"), None);
        assert_eq!(told("MOVED 3999"), None);
    }
}
