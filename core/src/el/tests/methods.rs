//! Methods, types and functions.

use super::*;

#[test]
fn text_has_the_methods_of_java() {
    check(&[
        ("{#text.length()} {#accent.length()}", "11 5"),
        (
            "{#text.substring(6)} {#text.substring(0,5)} {#accent.substring(4)}",
            "World Hello x",
        ),
        ("{#text.substring(50)}", RUNTIME),
        ("{#text.substring(-1)}", RUNTIME),
        ("{#text.substring('6')}", "World"),
        ("{#text.substring('x')}", EVALUATION),
        (
            "{#text.indexOf('o')} {#text.indexOf('o', 5)} {#text.indexOf('zz')} {#text.indexOf(87)}",
            "4 7 -1 6",
        ),
        (
            "{#text.lastIndexOf('o')} {#text.lastIndexOf('o', 6)} {#accent.indexOf('x')}",
            "7 4 4",
        ),
        ("{#text.charAt(0)} {#text.codePointAt(0)}", "H 72"),
        ("{#text.charAt(99)}", RUNTIME),
        (
            "{#text.contains('World')} {#text.startsWith('W', 6)} {#text.endsWith('d')}",
            "true true true",
        ),
        ("{#text.contains(null)}", RUNTIME),
        (
            "{#text.replace('o','0')} {#text.replaceAll('[lo]+','$0$0')} {#text.replaceFirst('(l)','[$1]')}",
            "Hell0 W0rld Hellollo Woorlld He[l]lo World",
        ),
        ("{#text.replaceAll('(?<v>o)','${v}!')}", "Hello! Wo!rld"),
        ("{#text.replaceAll('o','$9')}", RUNTIME),
        ("{#text.replaceAll('(','x')}", RUNTIME),
        ("{('a1b22'.replaceAll('\\d',''))}", "ab"),
        (
            "{('a,b,,'.split(',').length)} {('a,b,,'.split(',', -1).length)} {('a,b,c'.split(',', 2)[1])}",
            "2 4 b,c",
        ),
        ("{('abc'.split('').length)} {(''.split(',').length)}", "3 1"),
        (
            "{#text.toUpperCase()} {#text.toLowerCase()}",
            "HELLO WORLD hello world",
        ),
        (
            "[{(' a '.trim())}] [{(' a '.stripLeading())}] [{(' '.isBlank())}]",
            "[a] [a ] [true]",
        ),
        (
            "{#text.equals('x')} {#text.equalsIgnoreCase('HELLO world')}",
            "false true",
        ),
        (
            "{#text.compareTo('Hello')} {('a'.compareTo('c'))} {('a'.compareToIgnoreCase('A'))}",
            "6 -2 0",
        ),
        (
            "{#text.hashCode()} {('ab'.repeat(2))} {('a'.concat('b'))}",
            "-862545276 abab ab",
        ),
        ("{('ab'.repeat(-1))}", RUNTIME),
        (
            "{#text.matches('Hello.*')} {('x\\ny'.matches('x.y'))}",
            "true false",
        ),
        (
            "{('abc'.toCharArray())} {('a'.getBytes('bad'))}",
            EVALUATION,
        ),
        ("{#text.nope()}", EVALUATION),
        ("{#text.length(1)}", EVALUATION),
        ("{('%s-%s'.formatted(1, 'a'))}", "1-a"),
    ]);
}

#[test]
fn formats_are_those_of_java() {
    check(&[
        (
            "{T(String).format('%05d|%s|%.2f', 42, 'x', 1.5)}",
            "00042|x|1.50",
        ),
        (
            "{T(String).format('%,d %+d %(d %x %X %o', 1234567, 5, -5, 255, 255, 8)}",
            "1,234,567 +5 (5) ff FF 10",
        ),
        (
            "{T(String).format('%-5s|%5s|%.2s', 'a', 'b', 'cde')}",
            "a    |    b|cd",
        ),
        ("{T(String).format('%2$s %1$s %<s', 'a', 'b')}", "b a a"),
        (
            "{T(String).format('%e %b %c %% %S', 12345.678, true, 'x'.charAt(0), 'up')}",
            "1.234568e+04 true x % UP",
        ),
        ("{T(String).format('%s', {1,2})}", "1"),
        ("{T(String).format('%d', 1.5)}", RUNTIME),
        ("{T(String).format('%s %s', 'a')}", RUNTIME),
        ("{T(String).format('%q', 'a')}", RUNTIME),
        ("{T(String).format('%.0f %.1f', 2.5, 0.25)}", "3 0.3"),
        ("{T(String).format('%08.2f', -1.5)}", "-0001.50"),
        (
            "{(new java.text.DecimalFormat('#,##0.00').format(1234.5))} {(new java.text.DecimalFormat('0.#').format(2))}",
            "1,234.50 2",
        ),
        ("{(new java.text.DecimalFormat('0%').format(0.25))}", "25%"),
    ]);
}

#[test]
fn types_have_their_static_methods() {
    check(&[
        (
            "{T(java.lang.Math).max(3, 9)} {T(Math).min(1L, 2)} {T(Math).abs(-1.5)}",
            "9 1 1.5",
        ),
        (
            "{T(Math).round(2.5)} {T(Math).round(-2.5)} {T(Math).floor(2.6)} {T(Math).ceil(2.1)}",
            "3 -2 2.0 3.0",
        ),
        (
            "{T(Math).floorMod(-7, 3)} {T(Math).pow(2, 3)} {T(Math).sqrt(9)}",
            "2 8.0 3.0",
        ),
        ("{T(Math).addExact(2147483647, 1)}", RUNTIME),
        ("{T(Math).random() < 1}", "true"),
        (
            "{T(Integer).parseInt('30') * 2} {T(Integer).parseInt('ff', 16)} {T(Integer).toHexString(-1)}",
            "60 255 ffffffff",
        ),
        ("{T(Integer).parseInt('x')}", RUNTIME),
        ("{T(Integer).parseInt('3000000000')}", RUNTIME),
        (
            "{T(Integer).MAX_VALUE} {T(Long).MIN_VALUE}",
            "2147483647 -9223372036854775808",
        ),
        (
            "{T(Long).valueOf('12') + 1} {T(Double).parseDouble('1.25')} {T(Float).parseFloat('0.1')}",
            "13 1.25 0.1",
        ),
        (
            "{T(String).valueOf(1)} {T(String).valueOf({1,2})} {T(String).join('-', {'a','b'})} {T(String).join('-', 'a', 'b')}",
            "1 [1, 2] a-b a-b",
        ),
        (
            "{T(java.util.Base64).getEncoder().encodeToString('a?b'.getBytes())}",
            "YT9i",
        ),
        (
            "{T(java.util.Base64).getUrlEncoder().withoutPadding().encodeToString('??>>'.getBytes())}",
            "Pz8-Pg",
        ),
        (
            "{(new String(T(java.util.Base64).getDecoder().decode('YT9i')))}",
            "a?b",
        ),
        ("{T(java.util.Base64).getDecoder().decode('*')}", RUNTIME),
        (
            "{T(java.net.URLEncoder).encode('a b&é*~', 'UTF-8')}",
            "a+b%26%C3%A9*%7E",
        ),
        ("{T(java.net.URLDecoder).decode('a+b%26', 'UTF-8')}", "a b&"),
        ("{T(java.net.URLDecoder).decode('%4', 'UTF-8')}", RUNTIME),
        ("{T(java.net.URLEncoder).encode('a', 'bad')}", EVALUATION),
        (
            "{T(java.util.UUID).randomUUID()}",
            "12345678-9abc-4ef0-9234-56789abcdef0",
        ),
        ("{T(java.lang.System).currentTimeMillis()}", "1700000000123"),
        (
            "{T(java.util.Collections).max(#list)} {T(java.util.Collections).frequency({1,1,2}, 1)}",
            "9 2",
        ),
        ("{T(java.util.Collections).max({})}", RUNTIME),
        (
            "{T(java.util.Collections).binarySearch({1,3,5}, 3)} {T(java.util.Collections).disjoint({1},{2})}",
            "1 true",
        ),
        ("{T(java.lang.Class).forName('x')}", EVALUATION),
        ("{T(java.lang.Runtime).getRuntime()}", EVALUATION),
        ("{T(java.lang.System).getenv()}", EVALUATION),
        ("{T(java.lang.System).exit(0)}", EVALUATION),
        ("{T(no.such.Type)}", EVALUATION),
        ("{(new java.lang.Thread())}", EVALUATION),
        ("{(new java.math.BigDecimal('x'))}", EVALUATION),
        ("{(new java.math.BigDecimal())}", RUNTIME),
        ("{(new java.lang.Math())}", RUNTIME),
        ("{(new Integer('12') + 1)}", "13"),
    ]);
}

#[test]
fn decimals_dates_and_numbers_have_methods() {
    check(&[
        (
            "{(new java.math.BigDecimal('1.255').setScale(2, 4))} {(new java.math.BigDecimal('1.255').setScale(2, T(java.math.RoundingMode).DOWN))}",
            "1.26 1.25",
        ),
        (
            "{(new java.math.BigDecimal('1').divide(new java.math.BigDecimal('3')))}",
            RUNTIME,
        ),
        (
            "{(new java.math.BigDecimal('1').divide(new java.math.BigDecimal('3'), 2, 4))}",
            "0.33",
        ),
        (
            "{(new java.math.BigDecimal('1.50').stripTrailingZeros().toPlainString())} {(new java.math.BigDecimal(0.1).scale())}",
            "1.5 55",
        ),
        (
            "{(new java.math.BigDecimal('2').pow(10).compareTo(new java.math.BigDecimal('1024')))}",
            "0",
        ),
        (
            "{#real.intValue()} {#big.intValue()} {#one.toString()} {#one.equals(1)} {#one.equals(1L)}",
            "2 -1294967296 1 true false",
        ),
        (
            "{T(java.time.LocalDate).of(2024,2,29).plusYears(1).toString()}",
            "2025-02-28",
        ),
        (
            "{T(java.time.LocalDate).parse('2024-01-31').plusMonths(1).toString()} {T(java.time.LocalDate).of(2024,3,1).getDayOfWeek()}",
            "2024-02-29 FRIDAY",
        ),
        ("{T(java.time.LocalDate).parse('2024-13-31')}", RUNTIME),
        ("{T(java.time.LocalDate).of(2023,2,29)}", RUNTIME),
        (
            "{T(java.time.LocalDate).of(2024,1,1).isBefore(T(java.time.LocalDate).now().plusYears(100))}",
            "true",
        ),
        (
            "{T(java.time.LocalDateTime).of(2024,1,31,23,59).plusMinutes(1).toString()}",
            "2024-02-01T00:00",
        ),
        (
            "{T(java.time.LocalDateTime).parse('2024-01-31T10:20:30').format(T(java.time.format.DateTimeFormatter).ofPattern('dd/MM/yy hh:mm a'))}",
            "31/01/24 10:20 AM",
        ),
        (
            "{T(java.time.LocalDate).of(2024,1,1).format(T(java.time.format.DateTimeFormatter).ofPattern('HH'))}",
            RUNTIME,
        ),
        (
            "{T(java.time.ZonedDateTime).now().toEpochSecond()} {T(java.time.ZonedDateTime).now().getYear()}",
            "1700000000 2023",
        ),
        (
            "{(new java.text.SimpleDateFormat('yyyy-MM-dd''T''HH:mm:ss.SSSZ').format(new java.util.Date(1700000000123L)))}",
            "2023-11-14T22:13:20.123+0000",
        ),
        (
            "{(new java.text.SimpleDateFormat('yyyy-MM-dd').parse('2024-01-02').getTime())}",
            "1704153600000",
        ),
        (
            "{(new java.text.SimpleDateFormat('yyyy-MM-dd').parse('x'))}",
            EVALUATION,
        ),
        (
            "{(new java.util.Date(0L).before(new java.util.Date()))}",
            "true",
        ),
    ]);
}

#[test]
fn collections_have_the_listed_methods_only() {
    check(&[
        (
            "{#list.size()} {#list.contains(9)} {#list.contains('9')} {#list.get(0)} {#list.isEmpty()}",
            "3 true false 5 false",
        ),
        ("{#list.get(9)}", RUNTIME),
        (
            "{#list.toString()} {#map.toString()} {#list.hashCode()}",
            "[5, 3, 9] {a=1, b=null, size=7} 34698",
        ),
        (
            "{#map.containsKey('b')} {#map.containsValue(1)} {#map.keySet()} {#map.getOrDefault('z', 'd')} {#map.getOrDefault('b', 'd')}",
            "true true a,b,size d ",
        ),
        (
            "{#map.entrySet().![key + '=' + value]} {#map.values()}",
            "a=1,b=null,size=7 1,null,7",
        ),
        (
            "{#request.headers.size()} {#request.headers.names()} {#request.headers.containsKey('x-one')}",
            "3 X-One,X-Two,X-Empty true",
        ),
        (
            "{#request.headers.getFirst('X-Two')} {#request.headers.getAll('nope')} {#request.headers.contains('nope')}",
            "a  false",
        ),
        (
            "{#request.headers.containsAllKeys({'x-one','x-two'})} {#request.headers.toSingleValueMap()['X-Two']}",
            "true a",
        ),
        (
            "{#request.params.getFirst('q')} {#request.params.get('q')} {#request.params.containsAllKeys({'q','z'})} {#request.params.size()}",
            "1 1,2 false 2",
        ),
        ("{#list.add(1)}", EVALUATION),
        ("{#list.stream()}", EVALUATION),
        ("{#map.put('a', 1)}", EVALUATION),
        ("{#request.headers.remove('X')}", EVALUATION),
        ("{#request.getClass()}", EVALUATION),
        ("{#nope('a')}", EVALUATION),
    ]);
}

#[test]
fn json_paths_are_those_of_the_reference() {
    let json = r#"{"s":{"b":[{"c":"x","p":8.95,"t":["u"]},{"c":"y","p":12,"i":"1-2"},{"c":"x","p":22.5,"i":null}],"l":{"k":1}},"n":null,"e":5}"#;
    let world = world();
    for (path, expected) in [
        ("$.e", "5"),
        ("e", "5"),
        ("$['s']['b'][0]['c']", "x"),
        ("$.missing", "null"),
        ("$.n", "null"),
        ("$.n.x", EVALUATION),
        ("$.missing.x", EVALUATION),
        ("$.s.b[9]", EVALUATION),
        ("$.s.b[-1].p", "22.5"),
        ("$.s.b[0,2].p", "8.95,22.5"),
        ("$.s.b[1:].p", "12,22.5"),
        ("$.s.b[:-1].p", "8.95,12"),
        ("$.s.b[*].i", "null,1-2,null"),
        ("$.s.b[*].t[0]", "u"),
        ("$.s.b[?(@.i)].p", "12,22.5"),
        ("$.s.b[?(!@.i)].p", "8.95"),
        ("$.s.b[?(@.p < 10 || @.p > 20)].p", "8.95,22.5"),
        ("$.s.b[?(@.p < $.s.b[1].p)].p", "8.95"),
        ("$.s.b[?(@.c in ['y', 'z'])].p", "12"),
        (
            "$.s.b[?(@.c == 'x' && (@.p == 8.95 || @.p == 1))].p",
            "8.95",
        ),
        ("$.s.b[?(@.i =~ /\\d-.*/)].p", "12"),
        ("$.s.b[?(@.i == null)].p", "8.95,22.5"),
        ("$.s.b[?(@.t contains 'u')].p", "8.95"),
        ("$.s.b[?(@.t empty false)].p", "8.95"),
        ("$.s.b[?(@.c size 1)].p", "8.95,12,22.5"),
        ("$..k", "null,null,null,null,null,1"),
        ("$..b[0].c", "x"),
        ("$.s.*", EVALUATION),
        ("$.s.b.length()", "3"),
        ("$.s.l.keys()", "k"),
        ("$..p.sum()", "43.45"),
        ("$.e.sum($..b[*].p)", "43.45"),
        ("$.s.b[", EVALUATION),
        ("$.", EVALUATION),
        ("$.s.b[?(@.p >)]", EVALUATION),
    ] {
        let source = format!("{{#jsonPath('{json}', '{}')}}", path.replace('\'', "''"));
        // The braces of the text do not fit into a template, so it comes from a variable.
        let overlay = crate::el::Overlay {
            base: &world,
            extra: &[("json", Value::text(json)), ("path", Value::text(path))],
        };
        let own = text_in(&overlay, "{#jsonPath(#json, #path)}");
        assert_eq!(own, expected, "{source}");
    }
}

#[test]
fn functions_check_their_arguments() {
    check(&[
        ("{#jsonPath('x')}", RUNTIME),
        ("{#jsonPath()}", RUNTIME),
        ("{#xpath('x')}", RUNTIME),
        ("{#jsonEscape()}", EVALUATION),
        ("{#xmlEscape(1, 2)}", EVALUATION),
        ("{#jsonPath('', '$')}", EVALUATION),
        ("{#jsonPath(#nothing, '$')}", EVALUATION),
        ("{#jsonPath('{', '$')}", EVALUATION),
        (
            "{#jsonPath('[1,2]', '$[1]')} {#jsonPath({1,2}, '$[0]')} {#jsonPath(#map, 'a')}",
            "2 1 1",
        ),
        (
            "{#jsonEscape('a/é\"')} {#jsonEscape({'a', null, 1})} {#jsonEscape(1)}",
            "a\\/\\u00E9\\\" a  1 1",
        ),
        (
            "{#xmlEscape('<a>''')} {#xmlEscape({'<', '>'})}",
            "&lt;a&gt;&apos; &lt; &gt;",
        ),
        ("{#xmlEscape(null)}", "null"),
    ]);
}

#[test]
fn xpath_is_version_one() {
    let world = world();
    for (expression, expected) in [
        ("/r/a", "x"),
        ("//a[2]", "y"),
        ("//a[@i='2']", "y"),
        ("//a[last()]/@i", "2"),
        ("count(//a)", "2"),
        ("sum(//a/@i) + 1 * 2", "5"),
        ("concat(/r/a[1], '-', string(/r/a[2]))", "x-y"),
        ("//a[position() > 1]", "y"),
        ("name(/*)", "r"),
        ("local-name(//*[3])", "b"),
        ("//b", "z"),
        ("//a/following-sibling::*[1]", "y"),
        ("//b/preceding-sibling::a[1]", "y"),
        ("/r/a[not(@i = 1)] | //nope", "y"),
        ("normalize-space('  a   b ')", "a b"),
        ("substring('12345', 2, 3)", "234"),
        ("translate('abc', 'ab', 'x')", "xc"),
        ("boolean(//nope)", "false"),
        ("1 div 0", "Infinity"),
        ("-(2 - 5) mod 2", "1"),
        ("//n:b", EVALUATION),
        ("///", EVALUATION),
        ("nope()", EVALUATION),
        ("$v", EVALUATION),
        ("//a[", EVALUATION),
    ] {
        let overlay = crate::el::Overlay {
            base: &world,
            extra: &[("path", Value::text(expression))],
        };
        assert_eq!(
            text_in(&overlay, "{#xpath(#xml, #path)}"),
            expected,
            "{expression}"
        );
    }
    check(&[
        (
            "{#xpath(#xml, '//a', 'node_list')} {#xpath(#xml, '//b', 'string')} {#xpath(#xml, '//a', 'boolean')}",
            "x,y  true",
        ),
        (
            "{#xpath(#xml, '//a/@i', 'number')} {#xpath(#xml, '//nope', 'node')}",
            "1.0 ",
        ),
        ("{#xpath(#xml, '//a', 'wrong')}", EVALUATION),
        ("{#xpath('<!DOCTYPE a><a/>', '/a')}", EVALUATION),
        ("{#xpath('<a>&nope;</a>', '/a')}", EVALUATION),
        ("{#xpath('<a><b></a>', '/a')}", EVALUATION),
        (
            "{#xpath('<a>1&lt;&#65;<![CDATA[<b>]]></a>', '/a')}",
            "1<A<b>",
        ),
    ]);
}

#[test]
fn bodies_become_values() {
    use crate::el::{json_content, xml_to_value};
    let json = |text: &str| json_content(text.as_bytes()).java_text();
    assert_eq!(
        json(r#"{"a":1,"b":[2,3000000000,1.5,"x\u00e9"],"a":4}"#),
        "{a=4, b=[2, 3000000000, 1.5, xé]}"
    );
    for not_an_object in ["", "[1]", "{", "{a:1}", "nul", "{\"a\":01}", "{\"a\":1} x"] {
        assert_eq!(json(not_an_object), "{}", "{not_an_object}");
    }
    let xml = |text: &str| xml_to_value(text.as_bytes()).map(|value| value.java_text());
    assert_eq!(
        xml("<?xml version='1.0'?><r i='1'><a>x</a><a>y</a><e/><n:m xmlns:n='u'>z</n:m> text</r>")
            .as_deref(),
        Some(
            "{r={i=1, a=[x, y], e=, m=z,  text= text}}"
                .replace(",  text=", ", =")
                .as_str()
        )
    );
    assert_eq!(xml("<r>t</r>").as_deref(), Some("{r=t}"));
    for bad in [
        "",
        "x",
        "<r>",
        "<r/><r/>",
        "<r a=1/>",
        "<!DOCTYPE r><r/>",
        "<r a='1' a='2'/>",
        "<r>&x;</r>",
        "<r>\u{1}</r>",
    ] {
        assert_eq!(xml(bad), None, "{bad}");
    }
}
