//! Templates, operators, resolution, conversions.

use super::*;
use crate::el::{Limits, Needs, Overlay};

#[test]
fn only_what_looks_like_an_expression_is_one() {
    check(&[
        ("", ""),
        ("plain", "plain"),
        ("{", "{"),
        ("{2}", "{2}"),
        ("{name}", "{name}"),
        ("{'a' + #one}", "{'a' + #one}"),
        ("{-#one}", "{-#one}"),
        ("{1 == 1}", "{1 == 1}"),
        ("{@bean}", "{@bean}"),
        ("{\t#one}", "{\t#one}"),
        ("{\"a\": {\"b\": 1}}", "{\"a\": {\"b\": 1}}"),
        ("{#one}", "1"),
        ("{ #one }", "1"),
        ("{   #  one}", "1"),
        ("{(1)}", "1"),
        ("{T(Math).PI}", "3.141592653589793"),
        ("{{#one}}", "{1}"),
        ("a{#one}b{#nothing}c", "a1bc"),
        ("{#nothing}{#nothing}", ""),
        ("{#nothing}", "null"),
        ("{\"k\": \"{#text}\"}", "{\"k\": \"Hello World\"}"),
        ("é{#one}é", "é1é"),
        ("{#text + '}'}", "Hello World}"),
        ("{(\n1\n+\n1)}", "2"),
    ]);
}

#[test]
fn what_the_template_parser_cannot_end_is_a_parse_error() {
    check(&[
        ("{#", PARSE),
        ("{#one", PARSE),
        ("{#}", PARSE),
        ("{# }", PARSE),
        ("{#one)}", PARSE),
        ("{(1]}", PARSE),
        ("{('a)}", PARSE),
        ("x{#", PARSE),
        ("{#text.replaceAll('o','{')}", EVALUATION),
    ]);
}

#[test]
fn the_grammar_refuses_what_the_reference_refuses() {
    check(&[
        ("{(1 +)}", PARSE),
        ("{(1 2)}", PARSE),
        ("{(1 < 2 < 3)}", PARSE),
        ("{(2 ^ 3 ^ 2)}", PARSE),
        ("{#text.}", PARSE),
        ("{#list?[0]}", PARSE),
        ("{('a' & 'b')}", PARSE),
        ("{('a' | 'b')}", PARSE),
        (r"{(\n)}", PARSE),
        ("{(99999999999)}", PARSE),
        ("{(1e)}", PARSE),
        ("{(#one ? 2)}", PARSE),
        ("{#one = 2}", EVALUATION),
        ("{#one++}", EVALUATION),
        ("{(--#one)}", EVALUATION),
        ("{(@bean)}", EVALUATION),
        ("{(name)}", EVALUATION),
        ("{(new int[3])}", EVALUATION),
    ]);
}

#[test]
fn numbers_behave_as_in_java() {
    check(&[
        ("{(2147483647 + 1)}", "-2147483648"),
        ("{(9223372036854775807L + 1)}", "-9223372036854775808"),
        ("{(7 / 2)}", "3"),
        ("{(-7 / 2)}", "-3"),
        ("{(-7 % 3)}", "-1"),
        ("{(7 / 2.0)}", "3.5"),
        ("{(1/0)}", RUNTIME),
        ("{(1%0)}", RUNTIME),
        ("{(1L/0)}", RUNTIME),
        ("{(1.0/0)}", "Infinity"),
        ("{(0.0/0)}", "NaN"),
        ("{(2 ^ 31)}", "2147483648"),
        ("{(3 ^ 40)}", "9223372036854775807"),
        ("{(-2 ^ 2)}", "4"),
        ("{(2 ^ -1)}", "0"),
        ("{(2.0 ^ 0.5)}", "1.4142135623730951"),
        ("{(1.5f * 2)}", "3.0"),
        ("{(1.0f / 3)}", "0.33333334"),
        ("{(0.1 + 0.2)}", "0.30000000000000004"),
        ("{(100000000.0)}", "1.0E8"),
        ("{(1e3)}", "1000.0"),
        ("{(0xFF)}", "255"),
        ("{(7 div 2)} {(7 MOD 2)}", "3 1"),
        ("{(1 - 2 - 3)}", "-4"),
        ("{(2 + 3 * 4 - 6 / 2)}", "11"),
        ("{('a' + 1 + 2)}", "a12"),
        ("{(1 + 2 + 'a')}", "3a"),
        ("{('a' + null)}", "anull"),
        ("{(null + 1)}", EVALUATION),
        ("{(null + 'a')}", "nulla"),
        ("{('ab' * 3)}", "ababab"),
        ("{('ab' * -1)}", EVALUATION),
        ("{('ab' - 1)}", EVALUATION),
        ("{('d' - 3)}", "a"),
        ("{(-'a')}", EVALUATION),
        ("{(+'a')}", EVALUATION),
        ("{#properties['p'] * 2}", "3030"),
        ("{#properties['p'] + 1}", "301"),
        ("{('x' + {1,2})}", "x1,2"),
        ("{('x' + {a:1})}", "x{a=1}"),
        ("{(new java.math.BigDecimal('1.10') + 1)}", "2.10"),
        ("{(new java.math.BigDecimal('1.10') / 3)}", "0.37"),
        ("{(new java.math.BigDecimal('1') / 0)}", RUNTIME),
    ]);
}

#[test]
fn comparisons_know_types() {
    check(&[
        ("{(1 == 1.0)}", "true"),
        ("{(1L == 1)}", "true"),
        ("{('1' == 1)}", "false"),
        ("{(true == 'true')}", "false"),
        (
            "{('a' == 'a')} {('a' != 'b')} {('a' EQ 'a')}",
            "true true true",
        ),
        ("{(null == null)} {(null == 1)}", "true false"),
        (
            "{(null < 1)} {(1 > null)} {(null < null)}",
            "true true false",
        ),
        ("{('a' < 'b')} {('B' < 'a')}", "true true"),
        ("{('a' < 1)}", EVALUATION),
        ("{({1} < {2})}", EVALUATION),
        ("{({1,2} == {1,2})}", "true"),
        ("{#request.headers['X-One'] == '1'}", "false"),
        ("{#request.headers['X-One'][0] == '1'}", "true"),
        ("{(0.0/0 == 0.0/0)} {(0.0/0 > 1)}", "false false"),
        ("{(5 between {1, 10})} {(5 between {6, 7})}", "true false"),
        ("{('b' between {'a', 'c'})}", "true"),
        ("{(5 between {1})}", EVALUATION),
        (
            "{(5 instanceof T(Integer))} {(5 instanceof T(Number))} {(5 instanceof T(String))}",
            "true true false",
        ),
        ("{(null instanceof T(String))}", "false"),
        ("{(5 instanceof 5)}", EVALUATION),
        (
            "{('abc' matches '[a-c]+')} {('abcd' matches '[a-c]+')}",
            "true false",
        ),
        (
            "{('ab' matches '(?=a).b')} {('aa' matches '(a)\\1')} {('aaa' matches 'a*+a')}",
            "true true false",
        ),
        ("{('x' matches '(')}", EVALUATION),
        ("{('x' matches 1)}", EVALUATION),
        ("{(12 matches '\\d+')}", "true"),
        ("{('é' matches '\\w')}", "false"),
        (
            "{('a.b' matches '\\Qa.b\\E')} {('A' matches '\\p{Upper}')}",
            "true true",
        ),
        (
            "{(true and false or true)} {(not true)} {(!false)}",
            "true false true",
        ),
        ("{(null and true)}", EVALUATION),
        ("{(false and null)}", "false"),
        ("{(1 and true)}", EVALUATION),
        ("{('yes' and 'on')}", "true"),
    ]);
}

#[test]
fn conditions_elvis_and_safe_steps() {
    check(&[
        ("{#yes ? 'a' : 'b'}", "a"),
        ("{#nothing ? 'a' : 'b'}", EVALUATION),
        ("{(false ? 1 : true ? 2 : 3)}", "2"),
        (
            "{#nothing ?: 'd'} {#empty ?: 'd'} {#text ?: 'd'}",
            "d d Hello World",
        ),
        ("{#nothing ?: #empty ?: 'x'}", "x"),
        ("{#nothing?.a}", "null"),
        ("{#nothing?.a.b}", EVALUATION),
        ("{#nothing?.a?.b}", "null"),
        ("{#nothing?.[0]}", "null"),
        ("{#nothing?.length()}", "null"),
        ("{#nothing.length()}", EVALUATION),
        ("{#nothing?.?[true]}", "null"),
        ("{#nothing.?[true]}", EVALUATION),
    ]);
}

#[test]
fn properties_and_indexes_are_resolved_in_order() {
    check(&[
        ("{#map.a} {#map['a']} {#map[a]}", "1 1 1"),
        ("{#map.size} {#map.size()}", "7 3"),
        ("{#map.nope}", "null"),
        (
            "{#text.length} {#text.empty} {#text.bytes.length}",
            "11 false 11",
        ),
        ("{#text.nope}", EVALUATION),
        ("{#text.class}", EVALUATION),
        ("{#list.size} {#list.empty}", "3 false"),
        ("{#list.clear}", EVALUATION),
        ("{#one.foo}", EVALUATION),
        ("{#request.nope}", EVALUATION),
        ("{#request['method']}", "GET"),
        ("{#request.class}", EVALUATION),
        ("{T(java.lang.System).getenv}", EVALUATION),
        ("{T(java.lang.Runtime).runtime}", EVALUATION),
        ("{#request.headers.empty}", "null"),
        (
            "{#request.headers['x-two']} {#request.headers.get('x-two')} {#request.headers['X-Two'][1]}",
            "a,b a b",
        ),
        ("{#request.headers['nope']}", "null"),
        ("{#request.headers['nope'][0]}", EVALUATION),
        ("{#request.headers['X-Two'][5]}", EVALUATION),
        ("{#request.params.q} {#request.params['Q']}", "1,2 "),
        ("{#request.paths[0]}{#request.paths.length}", "3"),
        ("{#list[-1]}", RUNTIME),
        ("{#list[3]}", EVALUATION),
        ("{#request.paths[9]}", EVALUATION),
        ("{#list['1']}", "3"),
        ("{#list['x']}", EVALUATION),
        ("{#text[0]} {#text['1']}", "H e"),
        ("{#text[99]}", EVALUATION),
        ("{#one[0]}", EVALUATION),
        (
            "{#context.attributes['plan']} {#context.attributes['gravitee.attribute.plan']}",
            "gold gold",
        ),
        (
            "{#context.attributes.containsKey('plan')} {#context.attributes['nope']}",
            "true ",
        ),
        ("{#properties['r']}", "x30y"),
        ("{#properties['broken']}", RUNTIME),
        (
            "{#properties[{'h'}]} {#properties[{'h','i'}]} {#properties.get({'h','i'})}",
            "first both first",
        ),
        ("{#unknown}", "null"),
        ("{#unknown.x}", EVALUATION),
        ("{#root} {#this}", " "),
    ]);
}

#[test]
fn selections_and_projections() {
    check(&[
        (
            "{#list.?[#this > 4]} {#list.^[#this > 4]} {#list.$[#this > 4]}",
            "5,9 5 9",
        ),
        ("{#list.?[#this > 99]}", ""),
        ("{#list.^[#this > 99]}", "null"),
        ("{#list.![#this * 2]}", "10,6,18"),
        ("{#people.?[age > 18].![name]}", "Ann"),
        ("{#people.![#this['name'] + age]}", "Ann30,Bob17"),
        ("{#map.?[key == 'a'].size()} {#map.![key]}", "1 a,b,size"),
        ("{#map.^[key != 'zz'].![key]}", "a"),
        ("{#nested.![#this.![#this + 1]]}", "2,3,4"),
        ("{#list.?[#this]}", EVALUATION),
        ("{#text.?[true]}", EVALUATION),
        (
            "{'a,b'.split(',').?[true].length}",
            "{'a,b'.split(',').?[true].length}",
        ),
        ("{('a,b'.split(',').?[true].length)}", "2"),
        ("{('a,b'.split(',').?[true].size())}", EVALUATION),
    ]);
}

#[test]
fn results_are_converted_to_text() {
    check(&[
        ("{#list}", "5,3,9"),
        ("{({})}", ""),
        ("{({null})}", "null"),
        ("{({1, null})}", "1,null"),
        ("{#nested}", "1,2,3"),
        ("{#map}", EVALUATION),
        ("{#people}", EVALUATION),
        ("{#request}", EVALUATION),
        ("{#request.headers}", EVALUATION),
        ("{('a'.getBytes())}", "97"),
        ("{(new java.util.Date(0L))}", "Thu Jan 01 00:00:00 UTC 1970"),
        ("{T(java.time.LocalDate).of(2024,1,1)}", EVALUATION),
        ("{(T(java.time.LocalDate).of(2024,1,1) + '')}", "2024-01-01"),
        ("{T(String)}", EVALUATION),
    ]);
}

#[test]
fn results_are_converted_to_booleans_and_numbers() {
    let world = world();
    for (source, expected) in [
        ("true", "true"),
        (" ON ", "true"),
        ("{('no')}", "false"),
        ("", "null"),
        ("{#empty}", "null"),
        ("{#nothing}", "null"),
        ("{#one}", EVALUATION),
        ("maybe", EVALUATION),
        ("{({true, 1})}", "true"),
        ("{({})}", "null"),
        ("{#map}", EVALUATION),
    ] {
        assert_eq!(
            kind_or(Template::new(source).eval_bool(&world)),
            expected,
            "{source}"
        );
    }
    for (source, expected) in [
        ("12", "12"),
        (" 12 ", "12"),
        ("0x10", "16"),
        ("{#one}{#one}", "11"),
        ("{(3.99)}", "3"),
        ("4.5", EVALUATION),
        ("{#big}", "3000000000"),
        ("{#yes}", EVALUATION),
        ("{#list}", "5"),
        ("", "null"),
        ("{(new java.math.BigDecimal('1e30'))}", EVALUATION),
    ] {
        assert_eq!(
            kind_or(Template::new(source).eval_long(&world)),
            expected,
            "{source}"
        );
    }
    let integer = |source: &str| {
        kind_or(
            Template::new(source)
                .eval(&world)
                .and_then(|value| value.to_integer()),
        )
    };
    assert_eq!(integer("{#big}"), EVALUATION);
    assert_eq!(integer("{#real}"), "2");
    let double = |source: &str| {
        kind_or(
            Template::new(source)
                .eval(&world)
                .and_then(|value| value.to_double()),
        )
    };
    assert_eq!(double("4.5"), "4.5");
    assert_eq!(double("{('x')}"), EVALUATION);
    let list = |source: &str| {
        let template = Template::new(source);
        let list = template.eval(&world).expect("a value").to_list();
        list.map(|items| items.iter().map(Value::java_text).collect::<Vec<_>>())
    };
    assert_eq!(list("a, b"), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(list("{#one}"), Some(vec!["1".to_owned()]));
    assert_eq!(list(""), Some(Vec::new()));
    assert_eq!(list("{#nothing}"), None);
}

#[test]
fn the_bodies_that_are_read_are_known_before() {
    let needs = |request_body, response_body| Needs {
        request_body,
        response_body,
    };
    for (source, expected) in [
        ("{#request.content}", needs(true, false)),
        ("{#request?.jsonContent.a}", needs(true, false)),
        ("{#yes ? 1 : #response.xmlContent['a']}", needs(false, true)),
        ("{#list.?[#this == #request.content]}", needs(true, false)),
        (
            "{(1 + #request.content.length())}x{#response.content}",
            needs(true, true),
        ),
        ("{T(String).valueOf(#request.content)}", needs(true, false)),
        ("{({a: #request.content})}", needs(true, false)),
        ("{#request.contentLength}", needs(false, false)),
        ("{#request['content']}", needs(false, false)),
        ("{#request}", needs(false, false)),
        ("{#message.content}", needs(false, false)),
        ("#request.content", needs(false, false)),
        ("{#request.content", needs(false, false)),
    ] {
        assert_eq!(Template::new(source).needs(), expected, "{source}");
    }
}

#[test]
fn a_template_tells_what_it_is() {
    assert_eq!(Template::new("a{b}").literal(), Some("a{b}"));
    assert_eq!(Template::new("{#a}").literal(), None);
    assert!(Template::new("{#a}").syntax_error().is_none());
    assert!(Template::new("{#a").syntax_error().is_some());
    assert_eq!(Template::new("{#a").source(), "{#a");
    fn is_shared<T: Send + Sync + Clone>(_: &T) {}
    is_shared(&Template::new(""));
}

#[test]
fn text_of_the_scope_is_lent_not_copied() {
    let world = world();
    for source in [
        "{#text}",
        "{#request.headers['X-One'][0]}",
        "{('constant')}",
        "literal",
        "{#text.substring(6)}",
        "{#text.trim()}",
    ] {
        let template = Template::new(source);
        let result = template
            .eval_text(&world)
            .expect("a value")
            .expect("a text");
        assert!(matches!(result, std::borrow::Cow::Borrowed(_)), "{source}");
    }
}

#[test]
fn an_overlay_is_asked_first() {
    let world = world();
    let overlay = Overlay {
        base: &world,
        extra: &[("one", Value::Int(2))],
    };
    assert_eq!(text_in(&overlay, "{#one}{#text}"), "2Hello World");
    assert_eq!(
        text_in(&overlay, "{T(java.lang.System).currentTimeMillis()}"),
        "1700000000123"
    );
}

#[test]
fn the_limits_of_the_contract_hold() {
    let long = "x".repeat(10_000);
    assert_eq!(text(&format!("{{(1 + '{long}')}}")), PARSE);
    assert_eq!(text(&format!("{{('{}')}}", "x".repeat(9_000))).len(), 9_000);
    assert_eq!(text("{('ab' * 128)}").len(), 256);
    assert_eq!(text("{('ab' * 129)}"), EVALUATION);
    assert_eq!(
        text(&format!("{{('a' matches '{}')}}", "x".repeat(1_000))),
        "false"
    );
    assert_eq!(
        text(&format!("{{('a' matches '{}')}}", "x".repeat(1_001))),
        EVALUATION
    );
    assert_eq!(
        text("{('x'.repeat(50000) + 'x'.repeat(50000)).length()}"),
        "100000"
    );
    assert_eq!(
        text("{('x'.repeat(50000) + 'x'.repeat(50001))}"),
        EVALUATION
    );
    let small = Limits {
        depth: 3,
        steps: 10,
        ..Limits::DEFAULT
    };
    let world = world();
    let limited = |source: &str| {
        kind_or(
            Template::with_limits(source, &small)
                .eval(&world)
                .map(|value| Some(value.java_text())),
        )
    };
    assert_eq!(limited("{((1))}"), "1");
    assert_eq!(limited("{((((1))))}"), PARSE);
    assert_eq!(limited("{#list.![#this + 1].![#this + 1]}"), EVALUATION);
}
