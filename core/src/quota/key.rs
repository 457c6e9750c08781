//! Keys of counters (contract policies 6.3).

use std::fmt::Write as _;

/// Whose counter it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct CounterKey<'a> {
    /// Plan, once one is selected.
    pub plan: Option<&'a str>,
    /// Subscription; the client's address for a key-less plan.
    pub subscription: Option<&'a str>,
    /// OAuth2 client that is known without a plan.
    pub client_id: Option<&'a str>,
    /// API.
    pub api: &'a str,
    /// Path of the flow, which only the old V2 engine sets.
    pub resolved_path: Option<&'a str>,
}

impl CounterKey<'_> {
    /// The key of a policy whose type is `tag` (`rl`, `q`, `sa`, `tb`) and whose configured key has this value.
    pub fn text(&self, own: Option<&str>, tag: &str) -> String {
        let mut key = String::with_capacity(96);
        match (self.plan, self.client_id) {
            (Some(plan), _) => {
                key.push_str(plan);
                // The reference concatenates, whatever is there.
                key.push_str(self.subscription.unwrap_or("null"));
            }
            (None, Some(client_id)) => key.push_str(client_id),
            (None, None) => key.push_str(self.api),
        }
        if is_blank(&key) {
            key.clear();
        }
        for part in [own.unwrap_or_default(), tag] {
            if !is_blank(part) {
                if !key.is_empty() {
                    key.push(':');
                }
                key.push_str(part);
            }
        }
        if let Some(path) = self.resolved_path {
            // Writing to a text does not fail.
            let _ = write!(key, ":{}", java_hash(path));
        }
        key
    }

    /// The key where only the configured one counts.
    pub fn only(own: Option<&str>, tag: &str) -> String {
        let own = own.unwrap_or_default();
        let mut key = String::with_capacity(own.len() + 1 + tag.len());
        key.push_str(own);
        key.push(':');
        key.push_str(tag);
        key
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Java's `String.hashCode`: over UTF-16 units, wrapping at 32 bits.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIBED: CounterKey<'_> = CounterKey {
        plan: Some("plan"),
        subscription: Some("subscription"),
        client_id: Some("client"),
        api: "api-id",
        resolved_path: None,
    };

    #[test]
    fn the_key_is_made_of_what_is_known() {
        let client = CounterKey {
            plan: None,
            client_id: Some("oauth-client-id"),
            ..SUBSCRIBED
        };
        let nobody = CounterKey {
            plan: None,
            client_id: None,
            ..SUBSCRIBED
        };
        let flow = CounterKey {
            resolved_path: Some("/my/path"),
            ..SUBSCRIBED
        };
        let no_subscription = CounterKey {
            subscription: None,
            ..SUBSCRIBED
        };
        for (key, own, tag, expected) in [
            (SUBSCRIBED, None, "q", "plansubscription:q".to_owned()),
            (SUBSCRIBED, Some("k1"), "q", "plansubscription:k1:q".into()),
            (SUBSCRIBED, Some("  "), "q", "plansubscription:q".into()),
            (client, None, "rl", "oauth-client-id:rl".into()),
            (nobody, None, "rl", "api-id:rl".into()),
            (no_subscription, None, "sa", "plannull:sa".into()),
            (
                flow,
                None,
                "q",
                format!("plansubscription:q:{}", java_hash("/my/path")),
            ),
        ] {
            assert_eq!(key.text(own, tag), expected);
        }
        assert_eq!(CounterKey::only(Some("key"), "q"), "key:q");
        assert_eq!(CounterKey::only(None, "rl"), ":rl");
    }

    #[test]
    fn the_hash_is_that_of_java() {
        // Computed by hand from h = 31 * h + unit.
        for (text, hash) in [
            ("", 0),
            ("a", 97),
            ("ab", 31 * 97 + 98),
            ("/", 47),
            ("polygenelubricants", i32::MIN),
            ("\u{1f600}", 31 * 0xd83d + 0xde00),
        ] {
            assert_eq!(java_hash(text), hash, "{text}");
        }
    }
}
