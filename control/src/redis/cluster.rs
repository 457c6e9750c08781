//! A cluster: one link per node, and which node has which slot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use turnpike_core::quota::CountError;

use super::command::Command;
use super::connect::{Address, ConnectError, Place, Target, text};
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

/// Slots from, slots to, and who has them.
type Slots = Vec<(u16, u16, Address)>;

#[derive(Debug)]
struct Inner {
    name: &'static str,
    target: Target,
    with_scripts: bool,
    links: Mutex<HashMap<Address, Link>>,
    slots: Mutex<Slots>,
    refresh: Notify,
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
        let mut by_node: HashMap<Option<Address>, Vec<usize>> = HashMap::new();
        for (index, command) in commands.iter().enumerate() {
            let node = self.inner.node_of(slot(command.key.as_bytes()));
            by_node.entry(node).or_default().push(index);
        }
        let mut running = Vec::new();
        for (node, indices) in by_node {
            let own: Vec<Command> = indices
                .iter()
                .map(|index| commands[*index].clone())
                .collect();
            let cluster = self.clone();
            running.push(tokio::spawn(async move {
                let results = cluster.run_on(node, &own, limit).await;
                indices.into_iter().zip(results).collect::<Vec<_>>()
            }));
        }
        let mut results: Vec<_> = commands
            .iter()
            .map(|_| Err(CountError::NotConnected))
            .collect();
        for task in running {
            for (index, result) in task.await.unwrap_or_default() {
                results[index] = result;
            }
        }
        results
    }

    async fn run_on(
        &self,
        node: Option<Address>,
        commands: &[Command],
        limit: Duration,
    ) -> Vec<Result<Value, CountError>> {
        let Some(node) = node else {
            self.inner.refresh.notify_one();
            return commands
                .iter()
                .map(|_| Err(CountError::NotConnected))
                .collect();
        };
        let deadline = tokio::time::Instant::now() + limit;
        let link = self.inner.link(node.clone());
        let mut results = link.run(commands, limit).await;
        for (index, result) in results.iter_mut().enumerate() {
            let Err(CountError::Store(text)) = &*result else {
                if let Err(CountError::NotConnected) = result {
                    self.inner.refresh.notify_one();
                }
                continue;
            };
            if text.starts_with("CLUSTERDOWN") {
                self.inner.refresh.notify_one();
            }
            let Some((asking, address)) = redirection(text, &node) else {
                continue;
            };
            if !asking {
                self.inner.refresh.notify_one();
            }
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let other = self.inner.link(address);
            let command = std::slice::from_ref(&commands[index]);
            if let Some(second) = other.run_between(command, left, asking).await.pop() {
                *result = second;
            }
        }
        results
    }
}

/// `MOVED 3999 127.0.0.1:6381`, `ASK …`: whether it is `ASK`, and where to go. An empty host is the node that answered.
fn redirection(text: &str, from: &Address) -> Option<(bool, Address)> {
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
    fn node_of(&self, slot: u16) -> Option<Address> {
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

    fn known(&self) -> Vec<Address> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<Address> = links.keys().cloned().collect();
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
        let mut is_known = false;
        for node in inner.known() {
            if let Some(Ok(slots)) = within(NODE_MAX, inner.ask(node)).await
                && !slots.is_empty()
            {
                inner.learn(slots);
                is_known = true;
                break;
            }
        }
        if is_known {
            let _ = tokio::time::timeout(REFRESH, inner.refresh.notified()).await;
        } else {
            tracing::debug!(redis = inner.name, "no node of the cluster tells its slots");
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
        assert_eq!(
            redirection("MOVED 3999 127.0.0.1:6381", &from),
            Some((false, ("127.0.0.1".into(), 6381)))
        );
        assert_eq!(
            redirection("ASK 3999 :6381", &from),
            Some((true, ("a".into(), 6381)))
        );
        assert_eq!(redirection("ERR no", &from), None);
        assert_eq!(redirection("MOVED 3999", &from), None);
    }
}
