//! Which of the registered hosts an authority matches, and in which order they are asked (contract request-lifecycle 1.2, 1.3).

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::Overlap;
use super::index::HashIndex;

/// Number of a host in the contract's order: of two hosts that match one request, the lower number is asked first. The
/// number after the last host stands for "any host".
pub(super) type HostId = u32;

/// All hosts of a table.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Ordered; as written, case included.
    names: Box<[Box<str>]>,
    exact: HashIndex,
    suffixes: HashIndex,
    /// Lengths at which a wildcard's suffix may begin, counted from the end of the host; longest first.
    suffix_lengths: Box<[SuffixLength]>,
}

#[derive(Debug, Clone, Copy)]
struct SuffixLength {
    bytes: usize,
    /// Every suffix of this length begins with a dot, as in `*.acme.com`.
    dotted: bool,
}

impl Hosts {
    /// Puts the hosts in order. `names` are distinct by [`same_host`].
    pub(super) fn new(overlap: Overlap, state: &RandomState, mut names: Vec<Box<str>>) -> Self {
        names.sort_by_cached_key(|name| order_key(name));
        let of_kind = |wildcard: bool| {
            let names = (0..)
                .zip(&names)
                .filter(move |(_, name)| suffix_of(overlap, name).is_some() == wildcard);
            names
                .map(|(id, name)| (id, &**name))
                .collect::<Vec<(HostId, &str)>>()
        };
        let exact = of_kind(false);
        let suffixes: Vec<(HostId, &str)> = of_kind(true)
            .into_iter()
            .map(|(id, name)| (id, &name[1..]))
            .collect();
        let mut suffix_lengths: Vec<SuffixLength> = Vec::new();
        for (_, suffix) in &suffixes {
            let dotted = suffix.starts_with('.');
            match suffix_lengths
                .iter_mut()
                .find(|length| length.bytes == suffix.len())
            {
                Some(length) => length.dotted &= dotted,
                None => suffix_lengths.push(SuffixLength {
                    bytes: suffix.len(),
                    dotted,
                }),
            }
        }
        suffix_lengths.sort_by_key(|length| std::cmp::Reverse(length.bytes));
        Self {
            exact: HashIndex::new(
                exact
                    .iter()
                    .map(|(id, name)| (hash_without_case(state, name), *id)),
            ),
            suffixes: HashIndex::new(
                suffixes
                    .iter()
                    .map(|(id, suffix)| (hash(state, suffix.as_bytes()), *id)),
            ),
            suffix_lengths: suffix_lengths.into_boxed_slice(),
            names: names.into_boxed_slice(),
        }
    }

    /// The number that stands for "any host".
    pub(super) fn any(&self) -> HostId {
        self.names.len() as HostId
    }

    /// The number of a host as it was registered.
    pub(super) fn id_of(
        &self,
        overlap: Overlap,
        state: &RandomState,
        name: &str,
    ) -> Option<HostId> {
        match suffix_of(overlap, name) {
            Some(suffix) => self.by_suffix(state, suffix),
            None => self.exact(state, name),
        }
    }

    /// The host that equals `name`, ignoring case.
    pub(super) fn exact(&self, state: &RandomState, name: &str) -> Option<HostId> {
        self.exact.find(hash_without_case(state, name), |id| {
            self.names[id as usize].eq_ignore_ascii_case(name)
        })
    }

    /// Hosts that match `name` in overlapping mode: the equal one, then every wildcard, longest suffix first. This is nearly
    /// always the contract's order too, but only the numbers are decisive.
    pub(super) fn matching<'a>(
        &'a self,
        state: &'a RandomState,
        name: &'a str,
    ) -> impl Iterator<Item = HostId> + 'a {
        let wildcards = self.suffix_lengths.iter().filter_map(move |length| {
            let suffix = name.get(name.len().checked_sub(length.bytes)?..)?;
            if length.dotted && !suffix.starts_with('.') {
                return None;
            }
            self.by_suffix(state, suffix)
        });
        self.exact(state, name).into_iter().chain(wildcards)
    }

    fn by_suffix(&self, state: &RandomState, suffix: &str) -> Option<HostId> {
        self.suffixes.find(hash(state, suffix.as_bytes()), |id| {
            &self.names[id as usize][1..] == suffix
        })
    }
}

/// Suffix of a wildcard host. There are wildcards only in overlapping mode, where a leading `*` stands for any text.
fn suffix_of(overlap: Overlap, name: &str) -> Option<&str> {
    name.strip_prefix('*')
        .filter(|_| overlap == Overlap::Allowed)
}

/// Sorts hosts by their reversed lower-case text, descending: below one domain the most specific host comes first, and
/// exact hosts come before wildcards. (In default mode no two hosts match one request, so their order has no effect.)
fn order_key(name: &str) -> std::cmp::Reverse<Vec<char>> {
    std::cmp::Reverse(name.to_ascii_lowercase().chars().rev().collect())
}

/// Whether two registered hosts are one and the same acceptor host. Wildcard suffixes are matched with case, others without.
pub(super) fn same_host(overlap: Overlap, one: &str, other: &str) -> bool {
    if suffix_of(overlap, one).is_some() {
        one == other
    } else {
        one.eq_ignore_ascii_case(other)
    }
}

/// The authority as default mode compares it: `name`, or `name:port` when the port is not empty and not 0.
pub(super) fn with_port(authority: &str) -> &str {
    match split_port(authority) {
        (name, Some(port)) if port.bytes().all(|digit| digit == b'0') => name,
        _ => authority,
    }
}

/// The authority as overlapping mode compares it.
pub(super) fn without_port(authority: &str) -> &str {
    split_port(authority).0
}

/// Splits at the last colon that is not inside the brackets of an IPv6 literal.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

fn hash(state: &RandomState, bytes: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// The hash of the lower-case text, made in steps on the stack so that nothing is allocated.
fn hash_without_case(state: &RandomState, name: &str) -> u64 {
    const STEP_BYTES: usize = 32;
    let mut hasher = state.build_hasher();
    for step in name.as_bytes().chunks(STEP_BYTES) {
        let mut lower = [0; STEP_BYTES];
        let lower = &mut lower[..step.len()];
        lower.copy_from_slice(step);
        lower.make_ascii_lowercase();
        hasher.write(lower);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_from_addresses() {
        for (authority, name, port) in [
            ("acme.com", "acme.com", None),
            ("acme.com:8082", "acme.com", Some("8082")),
            ("acme.com:", "acme.com", Some("")),
            ("[::1]", "[::1]", None),
            ("[::1]:8082", "[::1]", Some("8082")),
            ("", "", None),
        ] {
            assert_eq!(split_port(authority), (name, port), "{authority}");
            assert_eq!(without_port(authority), name, "{authority}");
        }
        assert_eq!(with_port("acme.com:8082"), "acme.com:8082");
        assert_eq!(with_port("acme.com:"), "acme.com");
        assert_eq!(with_port("acme.com:0"), "acme.com");
        assert_eq!(with_port("acme.com:80"), "acme.com:80");
    }

    #[test]
    fn hosts_are_ordered_from_the_most_specific_and_exact_before_wildcard() {
        let state = RandomState::default();
        let names = [
            "*.acme.com",
            "*",
            "x.api.acme.com",
            "acme.com",
            "*.api.acme.com",
        ]
        .map(Into::into)
        .to_vec();
        let hosts = Hosts::new(Overlap::Allowed, &state, names);
        let matched: Vec<_> = hosts
            .matching(&state, "X.api.acme.com")
            .map(|id| &*hosts.names[id as usize])
            .collect();
        assert_eq!(
            matched,
            ["x.api.acme.com", "*.api.acme.com", "*.acme.com", "*"]
        );
        let ids: Vec<_> = hosts.matching(&state, "x.api.acme.com").collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }

    #[test]
    fn a_host_longer_than_one_hashing_step_is_found_in_any_case() {
        let state = RandomState::default();
        let long = "Label.".repeat(20) + "com";
        let hosts = Hosts::new(Overlap::Forbidden, &state, vec![long.as_str().into()]);
        assert_eq!(hosts.exact(&state, &long.to_ascii_uppercase()), Some(0));
        assert_eq!(hosts.exact(&state, &long[1..]), None);
    }
}
