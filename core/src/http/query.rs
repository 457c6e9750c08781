//! Query parameters as the reference forwards them (contract request-lifecycle 8.2): raw, split on `&` and `;`, grouped by
//! name in first-seen order.

/// Parameters that are compared without allocating.
const PARAMETERS_INLINE: usize = 64;

/// The parameters of a query, raw and in order, empty ones left out.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    query
        .split(|byte| matches!(byte, b'&' | b';'))
        .filter(|parameter| !parameter.is_empty())
}

/// Name of a raw parameter.
pub fn name(parameter: &[u8]) -> &[u8] {
    memchr::memchr(b'=', parameter).map_or(parameter, |at| &parameter[..at])
}

/// The raw value of the first parameter called `wanted`; a parameter without `=` has an empty value.
pub fn value<'q>(query: &'q [u8], wanted: &[u8]) -> Option<&'q [u8]> {
    parameters(query)
        .find(|parameter| name(parameter) == wanted)
        .map(|parameter| parameter.get(wanted.len() + 1..).unwrap_or_default())
}

/// The text of a raw name or value: `+` is a space, `%XX` a byte. What is not UTF-8 then is replaced; a `%` without two digits stays.
pub fn decode(raw: &[u8]) -> std::borrow::Cow<'_, str> {
    percent_decode(raw, true)
}

/// The text of raw bytes: `%XX` is a byte, and `+` a space where `plus` says so.
pub(super) fn percent_decode(raw: &[u8], plus: bool) -> std::borrow::Cow<'_, str> {
    if !raw
        .iter()
        .any(|byte| *byte == b'%' || (plus && *byte == b'+'))
    {
        return String::from_utf8_lossy(raw);
    }
    let digit = |at: usize| raw.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut text = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match (raw[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                text.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) if plus => text.push(b' '),
            (byte, ..) => text.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&text).into_owned().into()
}

/// Appends to the URI in `out` the parameters of `request`, then those of `target`, without those called `strip`. The first one
/// is joined by `?`.
pub fn write(out: &mut Vec<u8>, request: &[u8], target: &[u8], strip: Option<&[u8]>) {
    if request.is_empty() && target.is_empty() {
        return;
    }
    let kept = || {
        parameters(request)
            .chain(parameters(target))
            .filter(move |parameter| strip.is_none_or(|strip| name(parameter) != strip))
    };
    let mut inline = [&b""[..]; PARAMETERS_INLINE];
    let mut count = 0;
    for parameter in kept() {
        if count < PARAMETERS_INLINE {
            inline[count] = parameter;
        }
        count += 1;
    }
    if count <= PARAMETERS_INLINE {
        write_grouped(out, &inline[..count]);
    } else {
        let mut all: Vec<&[u8]> = kept().collect();
        // A stable sort by the rank of each name keeps first-seen order at n log n, where comparing pairs would be n².
        let mut ranks =
            std::collections::HashMap::<&[u8], usize, foldhash::fast::RandomState>::default();
        for parameter in &all {
            let next = ranks.len();
            ranks.entry(name(parameter)).or_insert(next);
        }
        all.sort_by_key(|parameter| ranks[name(parameter)]);
        let mut separator = b'?';
        for parameter in all {
            push(out, &mut separator, parameter);
        }
    }
}

fn write_grouped(out: &mut Vec<u8>, parameters: &[&[u8]]) {
    let mut written = 0_u64;
    let mut separator = b'?';
    for (index, parameter) in parameters.iter().enumerate() {
        if written & 1 << index != 0 {
            continue;
        }
        push(out, &mut separator, parameter);
        for (later, other) in parameters.iter().enumerate().skip(index + 1) {
            if name(other) == name(parameter) {
                push(out, &mut separator, other);
                written |= 1 << later;
            }
        }
    }
}

fn push(out: &mut Vec<u8>, separator: &mut u8, parameter: &[u8]) {
    out.push(*separator);
    out.extend_from_slice(parameter);
    *separator = b'&';
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(request: &str, target: &str, strip: Option<&str>) -> String {
        let mut out = b"/p".to_vec();
        write(
            &mut out,
            request.as_bytes(),
            target.as_bytes(),
            strip.map(str::as_bytes),
        );
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn parameters_are_grouped_by_name_in_first_seen_order_and_stay_raw() {
        for (request, target, expected) in [
            ("", "", "/p"),
            ("a=1&b=2&a=3", "", "/p?a=1&a=3&b=2"),
            ("a", "", "/p?a"),
            ("a=", "", "/p?a="),
            ("a=%20+x;b=1", "", "/p?a=%20+x&b=1"),
            ("&&a=1&", "", "/p?a=1"),
            ("a=1", "t=2", "/p?a=1&t=2"),
            ("", "t=2&u", "/p?t=2&u"),
            ("a=1&b=2", "a=9", "/p?a=1&a=9&b=2"),
            ("x=http://h/?q", "", "/p?x=http://h/?q"),
        ] {
            assert_eq!(
                written(request, target, None),
                expected,
                "{request:?} {target:?}"
            );
        }
    }

    #[test]
    fn names_and_values_are_decoded() {
        for (raw, text) in [
            ("a", "a"),
            ("a+b%20c", "a b c"),
            ("%C3%A9", "é"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%FF", "\u{fffd}"),
        ] {
            assert_eq!(decode(raw.as_bytes()), text, "{raw}");
        }
    }

    #[test]
    fn a_stripped_parameter_leaves_no_trace() {
        assert_eq!(written("api-key=k&a=1", "", Some("api-key")), "/p?a=1");
        assert_eq!(written("api-key=k", "", Some("api-key")), "/p");
        assert_eq!(written("api-keys=k", "", Some("api-key")), "/p?api-keys=k");
    }

    #[test]
    fn the_first_value_of_a_name_is_found() {
        assert_eq!(value(b"a=1&b=&c", b"a"), Some(&b"1"[..]));
        assert_eq!(value(b"a=1&b=&c", b"b"), Some(&b""[..]));
        assert_eq!(value(b"a=1&b=&c", b"c"), Some(&b""[..]));
        assert_eq!(value(b"a=1", b"d"), None);
    }

    proptest! {
        #[test]
        fn many_parameters_are_grouped_as_few_are(names in prop::collection::vec("[a-d]", 1..130)) {
            let query: Vec<String> = names.iter().enumerate().map(|(at, name)| format!("{name}={at}")).collect();
            let mut expected: Vec<&str> = Vec::new();
            let mut seen: Vec<&str> = Vec::new();
            for name in &names {
                if !seen.contains(&name.as_str()) {
                    seen.push(name);
                    expected.extend(query.iter().filter(|parameter| parameter.starts_with(name)).map(String::as_str));
                }
            }
            prop_assert_eq!(written(&query.join("&"), "", None), format!("/p?{}", expected.join("&")));
        }
    }
}
