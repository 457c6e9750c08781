//! `ip-filtering`: lets addresses in or keeps them out (contract policies 13).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::lenient::de_bool;
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Stage, Verdict};
use crate::el::{Template, Value};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::need::{Answer, Errand, Need};

pub(super) const ENTRY: Entry = Entry {
    id: "ip-filtering",
    phases: Phases::REQUEST,
    summary: "lets addresses in or keeps them out",
    members: &[
        "matchAllFromXForwardedFor",
        "useCustomIPAddress",
        "customIPAddress",
        "whitelistIps",
        "blacklistIps",
        "lookupIpVersion",
        "isInclusiveHostCount",
    ],
    differences: "host names are looked up with the gateway's own resolver; every X-Forwarded-For field counts, not only the first",
    build,
};

/// Entries that the lists of one request may have, after expressions and commas.
const ENTRIES_MAX: usize = 10_000;
/// Candidate addresses of one request.
const CANDIDATES_MAX: usize = 256;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    #[serde(rename = "matchAllFromXForwardedFor", deserialize_with = "de_bool")]
    match_all_from_x_forwarded_for: bool,
    #[serde(rename = "useCustomIPAddress", deserialize_with = "de_bool")]
    use_custom_ip_address: bool,
    #[serde(rename = "customIPAddress")]
    custom_ip_address: Option<String>,
    whitelist_ips: Option<Vec<Option<String>>>,
    blacklist_ips: Option<Vec<Option<String>>>,
    lookup_ip_version: Option<IpVersion>,
    #[serde(deserialize_with = "de_bool")]
    is_inclusive_host_count: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum IpVersion {
    Ipv4,
    Ipv6,
    All,
}

#[derive(Debug)]
struct IpFiltering {
    source: Source,
    whitelist: Box<[Listed]>,
    blacklist: Box<[Listed]>,
    version: IpVersion,
    inclusive: bool,
}

/// Where the candidate addresses come from.
#[derive(Debug)]
enum Source {
    Remote,
    Forwarded,
    Custom(Template),
}

/// An entry of a list as it is configured.
#[derive(Debug)]
enum Listed {
    Fixed(Vec<Entries>),
    Template(Template),
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entries {
    Address(IpAddr),
    /// Address and prefix length.
    Network(IpAddr, u8),
    Host(Box<str>),
}

impl Entries {
    fn of(text: &str) -> Self {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::Address(address.to_canonical());
        }
        if let Some((address, prefix)) = text.split_once('/')
            && let Ok(address) = address.trim().parse::<IpAddr>()
            && let Ok(prefix) = prefix.trim().parse::<u8>()
            && prefix <= if address.is_ipv4() { 32 } else { 128 }
        {
            return Self::Network(address, prefix);
        }
        Self::Host(text.into())
    }

    fn split(text: &str) -> impl Iterator<Item = Self> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Self::of)
    }

    fn is_host(&self) -> bool {
        matches!(self, Self::Host(_))
    }

    fn holds(&self, candidate: &Candidate, inclusive: bool) -> bool {
        match (self, candidate.address) {
            (Self::Address(own), Some(address)) => *own == address,
            (Self::Network(network, prefix), Some(address)) => {
                in_network(*network, *prefix, address, inclusive)
            }
            (Self::Host(host), None) => host.eq_ignore_ascii_case(&candidate.text),
            _ => false,
        }
    }
}

/// Whether a network holds an address. Without `inclusive`, the first and the last address of an IPv4 network are not part of it.
fn in_network(network: IpAddr, prefix: u8, address: IpAddr, inclusive: bool) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix))
                .unwrap_or_default();
            let (network, address) = (u32::from(network) & mask, u32::from(address));
            address & mask == network
                && (inclusive || (address != network && address != (network | !mask)))
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix))
                .unwrap_or_default();
            u128::from(network) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

/// An address that a request came from, or says it did.
#[derive(Debug, Clone)]
struct Candidate {
    text: Box<str>,
    address: Option<IpAddr>,
}

impl Candidate {
    fn of(text: &str) -> Self {
        Self {
            text: text.into(),
            address: text
                .parse::<IpAddr>()
                .ok()
                .map(|address| address.to_canonical()),
        }
    }
}

/// Host names that have still to be looked up.
struct Pending {
    /// Whether the name is of the whitelist, and the name.
    hosts: VecDeque<(bool, Box<str>)>,
    candidates: Vec<Candidate>,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let list = |entries: Option<Vec<Option<String>>>| {
        entries
            .unwrap_or_default()
            .into_iter()
            .flatten()
            .map(|entry| {
                let template = Template::new(&entry);
                match template.literal() {
                    Some(literal) => Listed::Fixed(Entries::split(literal).collect()),
                    None => Listed::Template(template),
                }
            })
            .collect()
    };
    let custom = configuration
        .custom_ip_address
        .filter(|custom| configuration.use_custom_ip_address && !custom.trim().is_empty());
    let source = match custom {
        Some(custom) => Source::Custom(Template::new(&custom)),
        None if configuration.match_all_from_x_forwarded_for => Source::Forwarded,
        None => Source::Remote,
    };
    Ok(Arc::new(IpFiltering {
        source,
        whitelist: list(configuration.whitelist_ips),
        blacklist: list(configuration.blacklist_ips),
        version: configuration.lookup_ip_version.unwrap_or(IpVersion::All),
        inclusive: configuration.is_inclusive_host_count,
    }))
}

fn internal(cause: impl std::fmt::Display) -> Box<Failure> {
    Box::new(Failure::internal().because(format!("ip-filtering: {cause}")))
}

fn refused(who: &str) -> Box<Failure> {
    Box::new(Failure::status(403).saying(format!(
        "Your IP ({who}) or some proxies whereby your request pass through are not allowed to reach this resource."
    )))
}

fn joined(candidates: &[Candidate]) -> String {
    let texts: Vec<&str> = candidates
        .iter()
        .map(|candidate| &*candidate.text)
        .collect();
    texts.join(", ")
}

/// Text of a value that may be a list, as `{#request.headers['X-Real-IP']}` is.
fn texts(value: Value<'_>, into: &mut dyn FnMut(&str)) -> Result<(), Box<Failure>> {
    match value {
        Value::Null => {}
        Value::List(items) => {
            for item in items.iter() {
                texts(item.clone(), into)?;
            }
        }
        other => {
            if let Some(text) = other.into_text().map_err(internal)? {
                into(&text);
            }
        }
    }
    Ok(())
}

impl IpFiltering {
    fn candidates(&self, exchange: &Exchange<'_>) -> Result<Vec<Candidate>, Box<Failure>> {
        let mut candidates = Vec::new();
        let mut take = |text: &str| {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            candidates.extend(parts.map(Candidate::of));
        };
        match &self.source {
            Source::Remote => take(&exchange.request.remote),
            Source::Forwarded => {
                let headers = &exchange.request.headers;
                if !headers.contains("X-Forwarded-For") {
                    return Err(internal("there is no X-Forwarded-For"));
                }
                for value in headers.values("X-Forwarded-For") {
                    take(&String::from_utf8_lossy(value));
                }
            }
            Source::Custom(template) => {
                texts(template.eval(exchange).map_err(internal)?, &mut take)?;
            }
        }
        if candidates.len() > CANDIDATES_MAX {
            return Err(internal("too many addresses"));
        }
        Ok(candidates)
    }

    fn entries(
        &self,
        list: &[Listed],
        exchange: &Exchange<'_>,
    ) -> Result<Vec<Entries>, Box<Failure>> {
        let mut entries = Vec::new();
        for listed in list {
            match listed {
                Listed::Fixed(fixed) => entries.extend(fixed.iter().cloned()),
                Listed::Template(template) => {
                    let value = template.eval(exchange).map_err(internal)?;
                    texts(value, &mut |text| entries.extend(Entries::split(text)))?;
                }
            }
            if entries.len() > ENTRIES_MAX {
                return Err(internal("too many entries in a list"));
            }
        }
        Ok(entries)
    }

    fn check(&self, exchange: &Exchange<'_>) -> Result<Pending, Box<Failure>> {
        let candidates = self.candidates(exchange)?;
        let blacklist = self.entries(&self.blacklist, exchange)?;
        let whitelist = self.entries(&self.whitelist, exchange)?;
        let is_in = |list: &[Entries], candidate: &Candidate| {
            list.iter()
                .any(|entry| entry.holds(candidate, self.inclusive))
        };
        if let Some(found) = candidates
            .iter()
            .find(|candidate| is_in(&blacklist, candidate))
        {
            return Err(refused(&found.text));
        }
        if whitelist.iter().any(|entry| !entry.is_host())
            && !candidates
                .iter()
                .any(|candidate| is_in(&whitelist, candidate))
        {
            return Err(refused(&joined(&candidates)));
        }
        let hosts = |list: Vec<Entries>, white: bool| {
            list.into_iter().filter_map(move |entry| match entry {
                Entries::Host(host) => Some((white, host)),
                _ => None,
            })
        };
        Ok(Pending {
            hosts: hosts(blacklist, false)
                .chain(hosts(whitelist, true))
                .collect(),
            candidates,
        })
    }

    /// Asks for the next host name; goes on when there is none.
    fn next(exchange: &mut Exchange<'_>, pending: Pending) -> Verdict {
        let Some((_, host)) = pending.hosts.front() else {
            return Verdict::Continue;
        };
        let need = Need::Errand(Box::new(Errand::Resolve { host: host.clone() }));
        exchange.carry = Some(Box::new(pending));
        Verdict::Await(need)
    }
}

impl Policy for IpFiltering {
    fn body_needs(&self, _phase: Phase) -> BodyNeeds {
        let listed = self.whitelist.iter().chain(&self.blacklist);
        let mut needs = listed.fold(BodyNeeds::default(), |needs, listed| match listed {
            Listed::Fixed(_) => needs,
            Listed::Template(template) => needs.and(template.needs()),
        });
        if let Source::Custom(template) = &self.source {
            needs = needs.and(template.needs());
        }
        needs
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        match self.check(exchange) {
            Ok(pending) => Self::next(exchange, pending),
            Err(failure) => Verdict::Fail(failure),
        }
    }

    fn resume(&self, _stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        let Some(mut pending) = exchange.take_carried::<Pending>() else {
            return Verdict::Fail(internal("nothing was asked"));
        };
        let Some((white, host)) = pending.hosts.pop_front() else {
            return Verdict::Continue;
        };
        let who = joined(&pending.candidates);
        let addresses = match answer {
            Answer::Addresses(addresses) => addresses,
            _ => Vec::new(),
        };
        let addresses: Vec<IpAddr> = addresses
            .into_iter()
            .map(|address| address.to_canonical())
            .filter(|address| match self.version {
                IpVersion::Ipv4 => address.is_ipv4(),
                IpVersion::Ipv6 => address.is_ipv6(),
                IpVersion::All => true,
            })
            .collect();
        if addresses.is_empty() {
            let mut failure = refused(&who);
            failure.cause = Some(format!("ip-filtering: {host} has no address").into());
            return Verdict::Fail(failure);
        }
        let found = pending.candidates.iter().any(|candidate| {
            candidate
                .address
                .is_some_and(|address| addresses.contains(&address))
        });
        if found != white {
            return Verdict::Fail(refused(&who));
        }
        Self::next(exchange, pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    /// Runs the policy for a request from `remote`; host names have the addresses of `names`. The message of the failure, if any.
    fn run(
        configuration: &Json,
        remote: &str,
        forwarded: &[&str],
        names: &[(&str, &[&str])],
    ) -> Option<(u16, String)> {
        let policy = build("ip-filtering", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.remote = remote.to_owned();
        for value in forwarded {
            exchange
                .request
                .headers
                .add("X-Forwarded-For", value)
                .expect("a field");
        }
        let mut verdict = policy.on_request(&mut exchange);
        loop {
            verdict = match verdict {
                Verdict::Continue => return None,
                Verdict::Fail(failure) => {
                    assert_eq!(failure.key_str(), "");
                    return Some((
                        failure.status,
                        failure.message.unwrap_or_default().into_owned(),
                    ));
                }
                Verdict::Await(Need::Errand(errand)) => {
                    let Errand::Resolve { host } = *errand else {
                        panic!("another errand")
                    };
                    let addresses = names
                        .iter()
                        .filter(|(name, _)| *name == &*host)
                        .flat_map(|(_, addresses)| addresses.iter())
                        .map(|address| address.parse().expect("an address"))
                        .collect();
                    policy.resume(Stage::Request, &mut exchange, Answer::Addresses(addresses))
                }
                other => panic!("{other:?}"),
            };
        }
    }

    fn passes(configuration: &Json, remote: &str) -> bool {
        run(configuration, remote, &[], &[]).is_none()
    }

    #[test]
    fn lists_of_addresses_decide() {
        for (configuration, remote, expected) in [
            (json!(null), "10.1.2.3", true),
            (
                json!({"whitelistIps": null, "blacklistIps": [null]}),
                "10.1.2.3",
                true,
            ),
            (json!({"whitelistIps": ["10.1.2.3"]}), "10.1.2.3", true),
            (json!({"whitelistIps": ["10.1.2.4"]}), "10.1.2.3", false),
            (
                json!({"whitelistIps": ["10.1.2.4, 10.1.2.3"]}),
                "10.1.2.3",
                true,
            ),
            (json!({"blacklistIps": ["10.1.2.3"]}), "10.1.2.3", false),
            (json!({"blacklistIps": ["10.1.2.4"]}), "10.1.2.3", true),
            (
                json!({"blacklistIps": ["10.1.2.3"], "whitelistIps": ["10.1.2.3"]}),
                "10.1.2.3",
                false,
            ),
            (
                json!({"blacklistIps": ["10.1.2.4"], "whitelistIps": ["10.1.2.3"]}),
                "10.1.2.3",
                true,
            ),
            (
                json!({"blacklistIps": ["10.1.2.4"], "whitelistIps": ["10.1.2.5"]}),
                "10.1.2.3",
                false,
            ),
            (
                json!({"whitelistIps": ["::ffff:10.1.2.3"]}),
                "10.1.2.3",
                true,
            ),
            (
                json!({"whitelistIps": ["2001:db8::/32"]}),
                "2001:db8::1",
                true,
            ),
            (
                json!({"whitelistIps": ["2001:db8::/32"]}),
                "2001:db9::1",
                false,
            ),
            (
                json!({"whitelistIps": ["2001:db8::/32"]}),
                "10.1.2.3",
                false,
            ),
        ] {
            assert_eq!(
                passes(&configuration, remote),
                expected,
                "{configuration} {remote}"
            );
        }
    }

    #[test]
    fn the_ends_of_an_ipv4_network_belong_to_it_only_when_asked_for() {
        for (network, address, exclusive, inclusive) in [
            ("192.168.0.0/24", "192.168.0.1", true, true),
            ("192.168.0.0/24", "192.168.0.0", false, true),
            ("192.168.0.0/24", "192.168.0.255", false, true),
            ("192.168.0.0/24", "192.168.1.1", false, false),
            ("192.168.0.0/22", "192.168.0.0", false, true),
            ("192.168.0.0/22", "192.168.0.255", true, true),
            ("192.168.0.0/22", "192.168.3.254", true, true),
            ("192.168.0.0/22", "192.168.3.255", false, true),
            ("192.168.0.7/24", "192.168.0.9", true, true),
            ("10.0.0.1/32", "10.0.0.1", false, true),
            ("0.0.0.0/0", "10.0.0.1", true, true),
        ] {
            for (flag, expected) in [(false, exclusive), (true, inclusive)] {
                let configuration =
                    json!({"whitelistIps": [network], "isInclusiveHostCount": flag});
                assert_eq!(
                    passes(&configuration, address),
                    expected,
                    "{address} in {network} {flag}"
                );
            }
        }
    }

    #[test]
    fn the_failure_names_who_was_refused() {
        let black = json!({"matchAllFromXForwardedFor": true, "blacklistIps": ["10.0.0.2"]});
        let white = json!({"matchAllFromXForwardedFor": true, "whitelistIps": ["10.0.0.9"]});
        for (configuration, who) in [(black, "10.0.0.2"), (white, "10.0.0.1, 10.0.0.2, 10.0.0.3")] {
            let (status, message) = run(
                &configuration,
                "10.1.2.3",
                &["10.0.0.1, 10.0.0.2", "10.0.0.3"],
                &[],
            )
            .expect("a failure");
            assert_eq!(status, 403);
            assert_eq!(
                message,
                format!(
                    "Your IP ({who}) or some proxies whereby your request pass through are not allowed to reach this resource."
                )
            );
        }
    }

    #[test]
    fn forwarded_and_custom_addresses_take_the_place_of_the_remote_one() {
        let forwarded = json!({"matchAllFromXForwardedFor": true, "whitelistIps": ["10.0.0.2"]});
        assert!(run(&forwarded, "10.1.2.3", &["10.0.0.1, 10.0.0.2"], &[]).is_none());
        assert_eq!(
            run(&forwarded, "10.0.0.2", &[], &[]).map(|(status, _)| status),
            Some(500),
            "no header"
        );
        let custom = json!({"useCustomIPAddress": true, "customIPAddress": "10.0.0.7, 10.0.0.8", "whitelistIps": ["10.0.0.8"]});
        assert!(passes(&custom, "10.1.2.3"));
        let unused = json!({"useCustomIPAddress": false, "customIPAddress": "10.0.0.7", "whitelistIps": ["10.1.2.3"]});
        assert!(passes(&unused, "10.1.2.3"));
    }

    #[test]
    fn addresses_and_lists_may_be_expressions() {
        for (configuration, expected) in [
            (
                json!({"useCustomIPAddress": true, "customIPAddress": "{#request.headers['X-Forwarded-For'][0]}", "whitelistIps": ["10.0.0.2"]}),
                0,
            ),
            (
                json!({"useCustomIPAddress": true, "customIPAddress": "{#request.headers['X-Forwarded-For']}", "blacklistIps": ["10.0.0.3"]}),
                403,
            ),
            (
                json!({"useCustomIPAddress": true, "customIPAddress": "{#request.headers['X-None']}", "whitelistIps": ["10.1.2.3"]}),
                403,
            ),
            (
                json!({"whitelistIps": ["10.0.0.1", "{#request.remoteAddress}"]}),
                0,
            ),
            (
                json!({"blacklistIps": ["{'10.0.0.1,' + #request.remoteAddress}"]}),
                0,
            ),
            (
                json!({"blacklistIps": ["{#request.remoteAddress + ',10.0.0.1'}"]}),
                403,
            ),
            (
                json!({"blacklistIps": ["{#context.attributes['none']}"]}),
                0,
            ),
            (json!({"blacklistIps": ["{#request.nope}"]}), 500),
        ] {
            let failure = run(
                &configuration,
                "10.1.2.3",
                &["10.0.0.1, 10.0.0.2", "10.0.0.3"],
                &[
                    ("{'10.0.0.1", &["10.9.9.9"]),
                    ("' + #request.remoteAddress}", &["10.9.9.9"]),
                ],
            );
            assert_eq!(
                failure.map_or(0, |(status, _)| status),
                expected,
                "{configuration}"
            );
        }
    }

    #[test]
    fn host_names_are_looked_up() {
        let white = json!({"whitelistIps": ["a.example", "b.example"]});
        let black = json!({"blacklistIps": ["a.example"]});
        let four = json!({"whitelistIps": ["a.example"], "lookupIpVersion": "IPV4"});
        let six = json!({"whitelistIps": ["a.example"], "lookupIpVersion": "IPV6"});
        let both: &[(&str, &[&str])] = &[
            ("a.example", &["10.1.2.3"]),
            ("b.example", &["10.1.2.3", "10.9.9.9"]),
        ];
        let one: &[(&str, &[&str])] = &[("a.example", &["10.1.2.3"]), ("b.example", &["10.9.9.9"])];
        let other: &[(&str, &[&str])] = &[("a.example", &["10.9.9.9"])];
        for (configuration, names, expected) in [
            (&white, both, true),
            (&white, one, false),
            (&white, &[], false),
            (&black, one, false),
            (&black, other, true),
            (&black, &[], false),
            (&four, one, true),
            (&six, one, false),
        ] {
            assert_eq!(
                run(configuration, "10.1.2.3", &[], names).is_none(),
                expected,
                "{configuration} {names:?}"
            );
        }
    }

    #[test]
    fn a_look_up_that_was_not_made_refuses() {
        let policy =
            build("ip-filtering", &json!({"blacklistIps": ["a.example"]})).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Await(_)
        ));
        let verdict = policy.resume(Stage::Request, &mut exchange, Answer::Refused);
        assert!(matches!(verdict, Verdict::Fail(failure) if failure.status == 403));
    }

    #[test]
    fn a_configuration_that_cannot_be_read_names_its_member() {
        for (configuration, member) in [
            (json!({"lookupIpVersion": "IPV5"}), "lookupIpVersion"),
            (json!({"whitelistIps": "10.0.0.1"}), "whitelistIps"),
            (json!({"blacklistIps": ["10.0.0.1", 5]}), "blacklistIps[1]"),
            (json!({"useCustomIPAddress": "so"}), "useCustomIPAddress"),
        ] {
            let error = build("ip-filtering", &configuration).expect_err("unreadable");
            assert_eq!(error.member, member);
        }
    }

    proptest! {
        #[test]
        fn networks_hold_what_shares_their_prefix(network: u32, address: u32, prefix in 0_u8..=32) {
            let expected = prefix == 0 || network >> (32 - prefix) == address >> (32 - prefix);
            prop_assert_eq!(in_network(IpAddr::V4(network.into()), prefix, IpAddr::V4(address.into()), true), expected);
        }

        #[test]
        fn entries_and_candidates_of_any_text_are_compared(entry in "[0-9a-f:./, ]{0,20}", remote in "[0-9a-f:.,% ]{0,20}") {
            let _ = passes(&json!({"blacklistIps": [entry], "isInclusiveHostCount": true}), &remote);
        }
    }
}
