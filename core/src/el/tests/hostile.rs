//! What must not take time or memory without bound, and must not panic.

use proptest::prelude::*;

use super::*;
use crate::el::Overlay;

#[test]
fn what_would_run_or_grow_without_end_is_refused() {
    let deep = |open: &str, close: &str, count: usize| {
        format!("{{({}1{})}}", open.repeat(count), close.repeat(count))
    };
    let mut rows = vec![
        (deep("(", ")", 3_000), PARSE),
        (deep("!", "", 3_000), PARSE),
        (deep("- ", "", 3_000), PARSE),
        (
            format!("{{#{}1{}}}", "{".repeat(3_000), "}".repeat(3_000)),
            PARSE,
        ),
        (format!("{{#list{}}}", "[#list".repeat(1_500)), PARSE),
        (format!("{{(1{})}}", " ?: (2".repeat(1_000)), PARSE),
        ("{('x'.repeat(1000000000))}".to_owned(), EVALUATION),
        (
            "{('x'.repeat(1000000).replaceAll('x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'))}".to_owned(),
            EVALUATION,
        ),
        (
            "{('x'.repeat(1000000).replace('', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'))}".to_owned(),
            EVALUATION,
        ),
        (
            "{(new java.math.BigDecimal('9').pow(999999999))}".to_owned(),
            EVALUATION,
        ),
        (
            "{(new java.math.BigDecimal('1e1000000000'))}".to_owned(),
            EVALUATION,
        ),
        (
            "{(new java.math.BigDecimal('1').setScale(1000000000))}".to_owned(),
            EVALUATION,
        ),
        (
            "{T(String).format('%1000000000d', 1)}".to_owned(),
            EVALUATION,
        ),
        (
            "{T(String).format('%.1000000000f', 1.0)}".to_owned(),
            EVALUATION,
        ),
        (
            "{T(java.time.LocalDate).of(2024,1,1).plusYears(1000000000)}".to_owned(),
            RUNTIME,
        ),
        (
            "{T(java.time.LocalDate).of(2024,1,1).plusDays(9223372036854775807L)}".to_owned(),
            RUNTIME,
        ),
        (
            "{T(Math).abs(T(Integer).MIN_VALUE) / -1}".to_owned(),
            "-2147483648",
        ),
        ("{(T(Long).MIN_VALUE % -1)}".to_owned(), "0"),
        ("{#many.![#many.![#many.![1]]]}".to_owned(), EVALUATION),
        ("{#many.?[#many.?[true].size() > 0]}".to_owned(), EVALUATION),
        (
            "{#jsonPath(#tree, '$..*..*..*..*..*')}".to_owned(),
            EVALUATION,
        ),
        (
            "{#xpath(#markup, '//*[//*[//*[//*]]]')}".to_owned(),
            EVALUATION,
        ),
        (
            "{#as.substring(0, 500).matches('(a|aa)+\\1b')}".to_owned(),
            EVALUATION,
        ),
        (
            "{#as.substring(0, 2000).replaceAll('(?=(a+)+$)((a|aa)+)b\\1', 'x')}".to_owned(),
            EVALUATION,
        ),
        ("{#as.matches('(?=a).*')}".to_owned(), EVALUATION),
        // Linear, because it needs no backtracking.
        ("{#as.matches('(a+)+$')}".to_owned(), "false"),
        ("{#as matches '(a+)+b'}".to_owned(), "false"),
        (
            "{('a' matches '(a{1000}){1000}{1000}')}".to_owned(),
            EVALUATION,
        ),
        (
            format!(
                "{{('a' matches '{}a{}')}}",
                "(".repeat(300),
                ")".repeat(300)
            ),
            EVALUATION,
        ),
        (
            format!("{{('a' matches '{}')}}", "[".repeat(300)),
            EVALUATION,
        ),
    ];
    rows.push((format!("{{(1{})}}", "+1".repeat(4_000)), "4001"));
    rows.push((
        format!("{{#text{}}}", ".trim()".repeat(1_000)),
        "Hello World",
    ));
    let world = world();
    let many: Vec<Value<'_>> = (0..500).map(Value::Int).collect();
    let letters = format!("{}!", "a".repeat(20_000));
    let tree = format!("{}1{}", "[[1],".repeat(60), "]".repeat(60));
    let markup = format!("<a>{}</a>", "<b><c/></b>".repeat(300));
    let extra = [
        ("many", Value::list(many)),
        ("as", Value::text(&letters)),
        ("tree", Value::text(&tree)),
        ("markup", Value::text(&markup)),
    ];
    let overlay = Overlay {
        base: &world,
        extra: &extra,
    };
    for (source, expected) in rows {
        let start: String = source.chars().take(60).collect();
        assert_eq!(text_in(&overlay, &source), expected, "{start}");
    }
}

#[test]
fn the_deepest_expression_that_parses_is_evaluated() {
    // Kinds of nesting that take the most stack.
    for (open, close) in [
        ("(", ")"),
        ("{", "}.get(0)"),
        ("!(", ")"),
        ("(true ? ", " : 1)"),
        ("(null ?: ", ")"),
        ("T(String).valueOf(", ")"),
        ("{1}.![", "].get(0)"),
        ("('' + ", ")"),
        ("(1 == ", ")"),
    ] {
        let mut before = String::new();
        let mut deepest = 0;
        for count in 1..120 {
            let source = format!("{{({}true{})}}", open.repeat(count), close.repeat(count));
            // Two levels of braces do not fit into a template; a bare expression shows the same.
            let template = Template::with_limits(&source, &crate::el::Limits::DEFAULT);
            if template.syntax_error().is_some() {
                break;
            }
            deepest = count;
            before = text(&source);
        }
        assert!(deepest > 0 && !before.is_empty(), "{open}");
    }
}

/// Pieces that make expressions which often parse.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "{#",
        "{(",
        "(",
        ")",
        "[",
        "]",
        "#",
        "text",
        "one",
        "list",
        "map",
        "request",
        ".headers",
        ".",
        "?.",
        ".?[",
        ".^[",
        ".![",
        "#this",
        "'a'",
        "\"",
        "'",
        "1",
        "2L",
        "1.5",
        "0x1",
        "1e9",
        "null",
        "true",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "==",
        "<",
        " and ",
        " or ",
        "!",
        " matches ",
        " between ",
        " instanceof ",
        "T(",
        "String",
        "Math",
        ".length()",
        ".size()",
        ".substring(",
        ".repeat(",
        ".split(",
        ".replaceAll(",
        ".format(",
        "'%s'",
        ",",
        ":",
        "?",
        "?:",
        " ",
        "#jsonPath(",
        "'$..a[?(@.b > 1)]'",
        "#xpath(",
        "'//a[1]'",
        "new ",
        "java.util.Date",
        "é",
        "\u{1f600}",
        "\\",
        "=",
        "@",
        "&&",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_it_panic(source in any::<String>()) {
        text(&source);
    }

    #[test]
    fn no_expression_makes_it_panic(source in pieces()) {
        text(&source);
        text(&format!("{{({source})}}"));
        text(&format!("{{#{source}}}"));
    }

    #[test]
    fn no_json_path_makes_it_panic(path in "[$@.*a\\[\\]'?()<>=!&|0-9:, /-]{0,30}") {
        let world = world();
        let extra = [("path", Value::text(&path))];
        let overlay = Overlay { base: &world, extra: &extra };
        text_in(&overlay, "{#jsonPath(#request.content, #path)}");
        text_in(&overlay, "{#xpath(#xml, #path)}");
        text_in(&overlay, "{#text.replaceAll(#path, #path)}");
        text_in(&overlay, "{T(String).format('%' + #path, 1, 1.5)}");
        text_in(&overlay, "{T(java.time.LocalDate).parse(#path)}");
        text_in(&overlay, "{#path.split(#path, 3)}");
    }

    #[test]
    fn no_body_makes_it_panic(body in "[{}\\[\\]<>/!a\"'=&;:,.0-9 \\\\-]{0,40}") {
        json_to_value(body.as_bytes());
        crate::el::xml_to_value(body.as_bytes());
        let world = world();
        let extra = [("body", Value::text(&body))];
        let overlay = Overlay { base: &world, extra: &extra };
        text_in(&overlay, "{#jsonPath(#body, '$..*')}");
    }

    #[test]
    fn a_text_without_braces_is_itself(source in "[^{}]*") {
        let template = Template::new(&source);
        prop_assert_eq!(template.literal(), Some(&*source));
        prop_assert_eq!(text(&source), source);
    }

    #[test]
    fn whole_numbers_calculate_as_rust_does(left in any::<i32>(), right in any::<i32>()) {
        let source = format!("{{(({left}L).intValue() * ({right}L).intValue())}}");
        prop_assert_eq!(text(&source), left.wrapping_mul(right).to_string());
        let source = format!("{{({left}L < {right}L)}}");
        prop_assert_eq!(text(&source), (left < right).to_string());
    }
}
