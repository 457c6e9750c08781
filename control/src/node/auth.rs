//! Basic authentication of the node API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use turnpike_config::NodeApiAuthentication;

/// Realm of the challenge.
pub(super) const CHALLENGE: &str = "Basic realm=\"gravitee.io\"";

/// Whether these headers let a request in.
pub(super) fn is_allowed(authentication: &NodeApiAuthentication, headers: &HeaderMap) -> bool {
    match authentication {
        NodeApiAuthentication::None => true,
        NodeApiAuthentication::Basic(users) => {
            credentials(headers).is_some_and(|(user, password)| {
                // Every entry is compared, found or not, and by digest: neither the time nor an early end tells names or lengths.
                users.iter().fold(false, |found, (name, secret)| {
                    found
                        | (same(name.as_bytes(), &user)
                            & same(secret.expose().as_bytes(), &password))
                })
            })
        }
    }
}

fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut user = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = user.iter().position(|byte| *byte == b':')?;
    let password = user.split_off(colon + 1);
    user.pop();
    Some((user, password))
}

fn same(expected: &[u8], found: &[u8]) -> bool {
    let (expected, found) = (Sha256::digest(expected), Sha256::digest(found));
    expected
        .iter()
        .zip(found.iter())
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}

#[cfg(test)]
mod tests {
    use turnpike_config::Secret;

    use super::*;

    #[test]
    fn only_the_name_and_password_of_one_user_let_a_request_in() {
        let users = NodeApiAuthentication::Basic(vec![
            ("admin".to_owned(), Secret::new("admin:admin")),
            ("probe".to_owned(), Secret::new("")),
        ]);
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let cases = [
            (Some(basic("admin:admin:admin")), true),
            (
                Some(basic("admin:admin:admin").replace("Basic ", "bAsIc   ")),
                true,
            ),
            (Some(basic("probe:")), true),
            (Some(basic("probe")), false),
            (Some(basic("admin:")), false),
            (Some(basic("probe:admin:admin")), false),
            (Some(basic(":")), false),
            (Some(basic("")), false),
            (Some("Basic".to_owned()), false),
            (Some("Basic !".to_owned()), false),
            (Some("Bearer YWRtaW4=".to_owned()), false),
            (None, false),
        ];
        for (value, allowed) in cases {
            let mut headers = HeaderMap::new();
            if let Some(value) = &value {
                headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
            }
            assert_eq!(is_allowed(&users, &headers), allowed, "{value:?}");
            assert!(is_allowed(&NodeApiAuthentication::None, &headers));
        }
        assert!(!is_allowed(
            &NodeApiAuthentication::Basic(Vec::new()),
            &HeaderMap::new()
        ));
    }
}
