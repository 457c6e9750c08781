use super::*;
use crate::exchange::Headers;
use proptest::prelude::*;
use std::borrow::Cow;

/// An object with the properties of the tests.
#[derive(Debug)]
struct Request {
    headers: Headers,
}

impl Object for Request {
    fn kind(&self) -> &'static str {
        "request"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "headers" => Value::Headers(&self.headers),
            "content" => {
                Value::text("{\"name\":\"Zoé\",\"items\":[{\"id\":1},{\"id\":2}],\"none\":null}")
            }
            "pathInfos" => Value::List(["", "a", "b"].into_iter().map(Value::text).collect()),
            "status" => Value::Int(1234),
            "ratio" => Value::Double(0.5),
            "ok" => Value::Bool(true),
            "nothing" => Value::Null,
            "map" => Value::map(vec![
                (Value::text("k"), Value::Text(Cow::Borrowed("v"))),
                (Value::text("n"), Value::Long(5)),
            ]),
            _ => return None,
        })
    }
}

fn request() -> Request {
    let mut headers = Headers::default();
    headers.add("X-A", "one").expect("a field");
    headers.add("x-a", "two").expect("a field");
    headers.add("Host", "h").expect("a field");
    Request { headers }
}

fn rendered(source: &str) -> Result<String, RenderError> {
    let request = request();
    let mut model = Model::default();
    model.object(
        "request",
        &request,
        vec![(
            "params",
            Value::map(vec![(
                Value::text("a"),
                Value::list(vec![Value::text("1")]),
            )]),
        )],
    );
    let template = Template::new(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    template.render(&model)
}

#[test]
fn templates_are_rendered() {
    for (source, expected) in [
        ("", ""),
        (
            "plain $ # < > {\"a\": 1} {#el} [#if] text",
            "plain $ # < > {\"a\": 1} {#el} [#if] text",
        ),
        (
            "${request.headers['X-A'][0]} ${request.headers['x-a'][1]}",
            "one two",
        ),
        (
            "${request.headers.Host[0]} ${request.headers['Host']?first}",
            "h h",
        ),
        (
            "${request.headers.getFirst('X-A')}|${request.headers.get('X-A')}|${request.headers.containsKey('no')?c}",
            "one|one|false",
        ),
        (
            "${request.params['a'][0]} ${request.params.a?join(',')}",
            "1 1",
        ),
        ("${request.pathInfos[1]} ${request.pathInfos?size}", "a 3"),
        (
            "${request.status} ${request.status?c} ${request.ratio}",
            "1,234 1234 0.5",
        ),
        (
            "${request.map.k} ${request.map['n'] + 1} ${request.map?keys?join('-')}",
            "v 6 k-n",
        ),
        (
            "${request.nope!'default'} ${request.nothing!}|${(request.nope.deeper)!'d'}",
            "default |d",
        ),
        (
            "${request.nope???c} ${(request.nope.deeper)???c} ${request.map.k???c}",
            "false false true",
        ),
        (
            "${request.nope?has_content?c} ${request.nope?default('x')} ${(request.nope)?if_exists}.",
            "false x .",
        ),
        // A default takes everything behind it.
        ("${nope!1 + 2} ${(nope!1) + 2}", "3 3"),
        (
            "${1 + 2 * 3} ${(1 + 2) * 3} ${7 / 2} ${7 % 2} ${-3 + 1} ${10 - 2 - 3}",
            "7 9 3.5 1 -2 5",
        ),
        (
            "${0.1 + 0.2} ${1000000} ${1/3} ${'a' + 1 + 2} ${1 + 2 + 'a'}",
            "0.3 1,000,000 0.333 a12 3a",
        ),
        ("${'it''s'!} ", "PARSE"),
        ("${\"a\\\"b\\n\\x41${1+1}\"} ${r'${no}'}", "a\"b\nA2 ${no}"),
        ("<#if request.ok>yes<#else>no</#if>", "yes"),
        (
            "<#if !request.ok>a<#elseif 1 gt 2>b<#elseif 2 gte 2 && (1 < 2)>c<#else>d</#if>",
            "c",
        ),
        (
            "<#if (2 > 1) || nope>x</#if><#if 1 != 2>y</#if><#if 'a' == \"a\">z</#if><#if 1 &lt; 2>w</#if>",
            "xyzw",
        ),
        (
            "<#list [1, 2, 3] as x>${x}${x_has_next?string(',', '')}</#list>",
            "1,2,3",
        ),
        (
            "<#list ['a','b'] as x>${x_index}${x?index}${x?counter}${x}<#sep>, </#list>",
            "001a, 112b",
        ),
        (
            "<#list ['a','b'] as x>${x}<#sep>, </#sep>.</#list>",
            "a, .b.",
        ),
        ("<#list [] as x>${x}<#else>none</#list>", "none"),
        ("<#list nope![] as x>${x}</#list>.", "."),
        (
            "<#list {'a': 1, 'b': 2} as k, v>${k}=${v};</#list>",
            "a=1;b=2;",
        ),
        (
            "<#list 1..3 as i>${i}</#list> <#list 3..1 as i>${i}</#list> <#list 1..<1 as i>${i}</#list><#list 2..*2 as i>${i}</#list> <#list 1..0 as i>${i}</#list>",
            "123 321 23 10",
        ),
        (
            "<#list 1..9 as i><#if i == 2><#continue></#if><#if i == 5><#break></#if>${i}</#list>",
            "134",
        ),
        (
            "<#list 1..2 as a><#list 1..2 as b>${a}${b} </#list></#list>",
            "11 12 21 22 ",
        ),
        (
            "<#assign x = 1, y = 'b' z = [1]>${x}${y}${z?size}<#assign x += 2>${x}<#assign x++>${x}<#assign x-->${x}",
            "1b1343",
        ),
        ("<#assign x>a${1}b</#assign>${x?upper_case}", "A1B"),
        ("a<#-- ${no} <#if> -->b${1 <#-- c --> + 1}", "ab2"),
        ("<#noparse>${x}<#if></#noparse>", "${x}<#if>"),
        (
            "${'abcdef'[1..2]} ${'abcdef'[3..]} ${'abc'[0]} ${[1,2,3][1..]?join('')}",
            "bc def a 23",
        ),
        (
            "${true?c} ${true?string} ${false?string('y','n')} ${(1 > 0)?then('p','q')}",
            "true true n p",
        ),
        (
            "${({'a': 1} + {'a': 2, 'b': 3})['a']} ${([1] + [2])?size}",
            "2 2",
        ),
        (
            "${request.content?eval_json.name} ${request.content?eval.items?size}",
            "Zoé 2",
        ),
        (
            "<#assign j = request.content?eval_json><#list j.items as i>${i.id}</#list>${(j.none)!'null'}",
            "12null",
        ),
        ("<#assign a = 1 />${a}<#if a == 1>x</#if>", "1x"),
    ] {
        if expected == "PARSE" {
            assert!(Template::new(source).is_err(), "{source}");
            continue;
        }
        assert_eq!(rendered(source).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn built_ins_do_what_their_names_say() {
    for (source, expected) in [
        ("'aBc'?upper_case", "ABC"),
        ("'aBc'?lower_case", "abc"),
        ("'abc'?cap_first + 'ABC'?uncap_first", "AbcaBC"),
        ("'ab cD'?capitalize", "Ab Cd"),
        ("' a '?trim", "a"),
        ("'é😀'?length", "3"),
        (
            "'<a b=\"c\">&\\''?html",
            "&lt;a b=&quot;c&quot;&gt;&amp;&#39;",
        ),
        ("'\\''?xml", "&apos;"),
        ("'a\"b\\\\c\\n</x>'?json_string", "a\\\"b\\\\c\\n<\\/x>"),
        ("'it\\'s'?js_string", "it\\'s"),
        ("'a b/ü'?url", "a%20b%2F%C3%BC"),
        ("'a b/c'?url_path", "a%20b/c"),
        ("'12.50'?number + 1", "13.5"),
        ("'true'?boolean?c", "true"),
        ("'abc'?contains('b')?c", "true"),
        (
            "'abc'?starts_with('a')?c + 'abc'?ends_with('a')?c",
            "truefalse",
        ),
        (
            "'abc'?ensure_starts_with('a') + 'abc'?ensure_ends_with('d')",
            "abcabcd",
        ),
        (
            "'abc'?remove_beginning('a') + 'abc'?remove_ending('c')",
            "bcab",
        ),
        ("'a.b.c'?keep_before('.') + 'a.b.c'?keep_after('.')", "ab.c"),
        (
            "'a.b.c'?keep_before_last('.') + 'a.b.c'?keep_after_last('.')",
            "a.bc",
        ),
        ("'aXbX'?replace('X', '-')", "a-b-"),
        ("'a,b,c'?split(',')?join('+')", "a+b+c"),
        ("'abcd'?substring(1) + 'abcd'?substring(1, 2)", "bcdb"),
        (
            "'abcb'?index_of('b') + 'abcb'?last_index_of('b') + 'abcb'?index_of('b', 2) + 'a'?index_of('x')",
            "6",
        ),
        ("'7'?left_pad(3, '0') + '7'?right_pad(3) + '.'", "0077  ."),
        ("' a  b '?word_list?size", "2"),
        (
            "2.5?round + (-2.5)?round + 2.5?floor + 2.5?ceiling + 2.9?int + (-1)?abs",
            "9",
        ),
        ("[1,2,3]?first + [1,2,3]?last", "4"),
        (
            "[3,1,2]?sort?join('') + ['b','A']?sort?reverse?join('')",
            "123bA",
        ),
        (
            "['a','b']?join(', ', 'none', '.') + []?join(',', 'none')",
            "a, b.none",
        ),
        (
            "['a']?seq_contains('a')?c + ['a','b']?seq_index_of('b')",
            "true1",
        ),
        ("{'a':1}?keys?first + {'a':1}?values?first", "a1"),
        (
            "'a'?is_string?c + 1?is_number?c + []?is_sequence?c + {}?is_hash?c + true?is_boolean?c",
            "truetruetruetruetrue",
        ),
        (
            "''?has_content?c + []?has_content?c + 'a'?has_content?c",
            "falsefalsetrue",
        ),
        (
            "1234.5?string('0.00') + ' ' + 1234.5?string('#,##0.##') + ' ' + 0.256?string('0%')",
            "1234.50 1,234.5 26%",
        ),
        (
            "1234.5?string + ' ' + 1234.5?string.computer + ' ' + 5?string['000']",
            "1,234.5 1234.5 005",
        ),
        ("(-0.5)?string('0') + ' ' + (-1.5)?string('0.0')", "-0 -1.5"),
        ("'aBc'?upperCase", "ABC"),
    ] {
        let template = format!("${{{source}}}");
        assert_eq!(rendered(&template).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn lines_of_directives_leave_no_trace() {
    for (source, expected) in [
        ("a\n<#if true>\n  b\n</#if>\nc\n", "a\n  b\nc\n"),
        ("  <#assign x = 1>  \r\n${x}", "1"),
        ("<#list 1..2 as x>\n${x}\n</#list>", "1\n2\n"),
        ("<#-- comment -->\ntext", "text"),
        ("<#if true>b</#if>\nc", "b\nc"),
        ("${1}\n<#if true></#if>${2}\n", "1\n2\n"),
        ("<#if true>\n</#if> x", " x"),
    ] {
        assert_eq!(rendered(source).as_deref(), Ok(expected), "{source:?}");
    }
}

#[test]
fn what_cannot_be_rendered_says_why() {
    for (source, message) in [
        ("${nope}", "nope has no value"),
        ("${request.nope}", "request.nope has no value"),
        (
            "${request.headers['No'][0]}",
            "request.headers['No'] has no value",
        ),
        (
            "${request.headers['X-A'][7]}",
            "request.headers['X-A'][…] has no value",
        ),
        (
            "${request.headers['X-A']}",
            "request.headers['X-A'] is a list and not text",
        ),
        ("${true}", "an expression is a boolean and not text"),
        ("<#if 1>x</#if>", "an expression is a number and no boolean"),
        (
            "<#list 'abc' as x></#list>",
            "an expression is a text and cannot be listed",
        ),
        ("${'a' == 1}", "a text and a number cannot be compared"),
        ("${1 / 0}", "a result is too large, or a division by zero"),
        ("${'a' - 1}", "a text and a number are no numbers"),
        ("${'x'?number}", "an expression: the text is no number"),
        (
            "${'x'?eval}",
            "an expression: ?eval is for JSON, which the text is not",
        ),
        ("${request.ok.x}", "request.ok is a boolean and has no x"),
    ] {
        assert_eq!(
            rendered(source).map_err(|error| error.to_string()),
            Err(message.to_owned()),
            "{source}"
        );
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (source, part) in [
        (
            "<#assign x = 'freemarker.template.utility.Execute'?new()>",
            "?new",
        ),
        ("${request?api.getClass()}", "?api"),
        ("<#macro m></#macro>", "<#macro>"),
        ("<#include 'x'>", "<#include>"),
        ("<#import 'x' as y>", "<#import>"),
        ("<#function f></#function>", "<#function>"),
        ("<@m/>", "macros"),
        ("a\n<#setting x='y'>", "line 2: the directive <#setting>"),
        ("#{1}", "#{…}"),
        ("${f(1)}", "functions"),
        ("${request.getClass()}", "getClass"),
        ("${.now}", "special variables"),
        ("${'a'?matches('a')}", "?matches"),
        ("${'2020'?date}", "?date"),
        ("${1?index}", "loop variables"),
        ("<#list [1]></#list>", "<#items>"),
        ("<#if true>", "<#if> is not closed"),
        ("</#if>", "closed"),
        ("<#list [1] as x>", "<#list> is not closed"),
        ("<#if true><#else><#else></#if>", "<#if> is not closed"),
        ("${", "expression"),
        ("${1", "\"}\" was expected"),
        ("${'a", "not closed"),
        (
            "${'a'?replace('b')}",
            "?replace has another number of arguments",
        ),
        ("<#-- a", "not closed"),
        ("<#noparse>", "not closed"),
        (
            "${99999999999999999999999999999999999999999999}",
            "too large",
        ),
    ] {
        let error = Template::new(source).expect_err(source).to_string();
        assert!(error.contains(part), "{source}: {error}");
    }
}

#[test]
fn renderings_and_templates_are_bounded() {
    let many = "<#list 1..99999 as a><#list 1..99999 as b></#list></#list>";
    let grows = "<#assign x = 'xxxxxxxxxxxxxxxx'><#list 1..99 as a><#assign x = x + x></#list>";
    let lists = "<#assign x = [1,2,3,4]><#list 1..99 as a><#assign x = x + x></#list>";
    let output = "<#assign x = 'x'?left_pad(10000)><#list 1..99999 as a>${x}</#list>";
    for source in [many, grows, lists, output, "${(1..99999999999)?size}"] {
        assert!(
            matches!(rendered(source), Err(RenderError::Limit(_))),
            "{source}"
        );
    }
    for source in [
        format!("${{{}1{}}}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("${{{}1}}", "-".repeat(5_000)),
        format!("${{{}1}}", "!".repeat(5_000)),
        format!("${{1{}}}", "+1".repeat(5_000)),
        format!("${{a{}}}", ".a".repeat(5_000)),
        format!("${{a{}}}", "!a".repeat(5_000)),
        "<#if true>".repeat(5_000),
        "x".repeat(TEMPLATE_BYTES_MAX + 1),
    ] {
        assert!(Template::new(&source).is_err(), "{}", &source[..20]);
    }
    // What is just allowed is rendered without trouble.
    let deep = format!(
        "${{{}1{}{}}}",
        "(".repeat(60),
        ")".repeat(60),
        "+1".repeat(190)
    );
    assert_eq!(rendered(&deep).as_deref(), Ok("191"));
}

proptest! {
    #[test]
    fn any_text_is_a_template_or_none(source in r#"(\$\{|\}|<#if |<#list |<#assign |</#if>|</#list>|>|as|x|request|\.|\[|\]|'|"|\?|!|\(|\)|size|first|1|\+|\.\.|==| |\n|,|headers|c){0,25}"#) {
        if let Ok(template) = Template::new(&source) {
            let request = request();
            let mut model = Model::default();
            model.object("request", &request, Vec::new());
            let _ = template.render(&model);
        }
    }

    #[test]
    fn text_without_markup_stays_as_it_is(text in "[a-zA-Z0-9 \n\"'{}\\[\\]:,éλ]{0,80}") {
        prop_assert_eq!(rendered(&text), Ok(text));
    }
}
