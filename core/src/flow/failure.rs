//! How a failure becomes the response (contract request-lifecycle 7.2 to 7.4).

use crate::definition::Engine;
use crate::el::{Map, Overlay, Template, Value};
use crate::error::{Failure, render};
use crate::exchange::{Body, Exchange};

/// The key of templates for every failure that has a key.
const DEFAULT_KEY: &str = "DEFAULT";

/// `responseTemplates` of an API.
#[derive(Debug, Default)]
pub struct ResponseTemplates {
    /// Error key (`DEFAULT` for any) and its templates by media type.
    pub by_key: Box<[TemplatesOfKey]>,
}

/// An error key and its templates.
pub type TemplatesOfKey = (Box<str>, Box<[MediaTemplate]>);

/// The response template of an error key for one media type.
#[derive(Debug)]
pub struct MediaTemplate {
    /// Media type, `*/*` for any.
    pub media: Box<str>,
    /// Status.
    pub status: u16,
    /// Header fields, set on the response.
    pub headers: Box<[(Box<str>, Box<str>)]>,
    /// Body.
    pub body: Option<Template>,
    /// Report the error key (`propagateErrorKeyToLogs`).
    pub propagate_error_key: bool,
}

impl ResponseTemplates {
    /// The template of a failure for a client that accepts these media types.
    fn find<'v>(
        &self,
        failure: &Failure,
        accept: impl Iterator<Item = &'v [u8]>,
    ) -> Option<&MediaTemplate> {
        let key = failure.key.as_ref()?;
        let by_media = [Some(key.as_str()), key.parent(), Some(DEFAULT_KEY)]
            .into_iter()
            .flatten()
            .find_map(|key| self.by_key.iter().find(|(own, _)| **own == *key))
            .map(|(_, by_media)| by_media)?;
        let of = |media: &str| by_media.iter().find(|template| *template.media == *media);
        accepted(accept)
            .iter()
            .find_map(|media| of(media))
            .or_else(|| of("*/*"))
    }
}

/// The media types of `Accept` values without parameters: best quality first, then concrete before wildcards, then as written.
fn accepted<'v>(values: impl Iterator<Item = &'v [u8]>) -> Vec<&'v str> {
    let mut accepted: Vec<(u16, u8, &str)> = values
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .filter_map(|element| {
            let mut parts = element.split(';').map(str::trim);
            let media = parts.next().filter(|media| !media.is_empty())?;
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .and_then(|quality| quality.trim().parse::<f32>().ok())
                .map_or(1_000, |quality| (quality.clamp(0.0, 1.0) * 1_000.0) as u16);
            let wildcards = media.split('/').filter(|part| *part == "*").count() as u8;
            Some((quality, wildcards, media))
        })
        .collect();
    accepted.sort_by_key(|(quality, wildcards, _)| (u16::MAX - quality, *wildcards));
    accepted.into_iter().map(|(_, _, media)| media).collect()
}

/// Turns the response into the answer of a failure. Header fields that are there stay; framing and coding of a body that is replaced go.
pub(super) fn answer(exchange: &mut Exchange<'_>, mut failure: Box<Failure>) {
    for name in ["content-length", "transfer-encoding", "content-encoding"] {
        exchange.response.headers.remove(name);
    }
    exchange.response.reason.clear();
    let accept = exchange.request.headers.values("accept");
    let template = exchange.api.processing.templates.find(&failure, accept);
    if let Some(template) = template {
        match template_body(exchange, template, &failure) {
            Ok(body) => return by_template(exchange, template, body, failure),
            // The template itself failed: what is left is the 500 that an unexpected error gets.
            Err(cause) => failure = Box::new(Failure::internal().because(cause)),
        }
    }
    simply(exchange, failure);
}

fn template_body(
    exchange: &Exchange<'_>,
    template: &MediaTemplate,
    failure: &Failure,
) -> Result<Option<Vec<u8>>, String> {
    let Some(body) = &template.body else {
        return Ok(None);
    };
    let parameters: Map<'_> = failure
        .parameters
        .iter()
        .map(|(name, value)| (Value::text(name), value.clone()))
        .collect();
    let parameters = Value::Map(parameters.into());
    let text =
        |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned().into()));
    let error: Map<'_> = vec![
        (
            Value::text("statusCode"),
            Value::Int(i32::from(failure.status)),
        ),
        (Value::text("key"), text(Some(failure.key_str()))),
        (Value::text("message"), text(failure.message.as_deref())),
        (
            Value::text("cause"),
            text(failure.cause.as_deref().or(failure.message.as_deref())),
        ),
        (Value::text("parameters"), parameters.clone()),
    ];
    let extra = [
        ("error", Value::Map(error.into())),
        ("parameters", parameters),
    ];
    let scope = Overlay {
        base: exchange,
        extra: &extra,
    };
    match body.eval_text(&scope) {
        Ok(text) => Ok(Some(text.unwrap_or_default().into_owned().into_bytes())),
        Err(error) => Err(format!(
            "the response template of {} cannot be evaluated: {error}",
            failure.key_str()
        )),
    }
}

fn by_template(
    exchange: &mut Exchange<'_>,
    template: &MediaTemplate,
    body: Option<Vec<u8>>,
    mut failure: Box<Failure>,
) {
    let accept = exchange
        .request
        .headers
        .get("accept")
        .map(<[u8]>::to_vec)
        .filter(|_| body.is_some());
    let response = &mut exchange.response;
    response.status = template.status;
    let _ = response.headers.set("Connection", "close");
    if let Some(accept) = accept {
        let _ = response.headers.set("Content-Type", accept);
    }
    for (name, value) in &template.headers {
        let _ = response.headers.set(name, value.as_bytes());
    }
    response.body = Body::Buffered(body.unwrap_or_default());
    failure.status = template.status;
    if !template.propagate_error_key {
        failure.key = None;
    }
    exchange.failure = Some(failure);
}

fn simply(exchange: &mut Exchange<'_>, failure: Box<Failure>) {
    let mut body = Vec::new();
    let accept = exchange.request.headers.values("accept");
    let rendered = render(&failure, accept, &mut body);
    let response = &mut exchange.response;
    response.status = failure.status;
    if let Some(content_type) = rendered.content_type {
        let _ = response.headers.set("Content-Type", content_type);
    }
    // The legacy engine closes after every failure (contract request-lifecycle 3.3).
    if rendered.close || exchange.api.engine == Engine::V2Legacy {
        let _ = response.headers.set("Connection", "close");
    }
    response.body = Body::Buffered(body);
    exchange.failure = Some(failure);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Processing;
    use crate::error::ErrorKey;
    use crate::policy::testing::Bench;
    use crate::snapshot::Platform;

    fn template(media: &str, status: u16, body: Option<&str>) -> MediaTemplate {
        MediaTemplate {
            media: media.into(),
            status,
            headers: [("X-Template".into(), media.into())].into(),
            body: body.map(Template::new),
            propagate_error_key: true,
        }
    }

    fn bench() -> Bench {
        let templates = ResponseTemplates {
            by_key: [
                (
                    Box::from("API_KEY_MISSING"),
                    Box::from([
                        template("application/json", 421, Some("json")),
                        template("*/*", 422, Some("any")),
                    ]),
                ),
                (
                    Box::from("GATEWAY_CLIENT_CONNECTION_ERROR"),
                    Box::from([template("*/*", 598, None)]),
                ),
                (
                    Box::from("DEFAULT"),
                    Box::from([template("text/xml", 423, Some("xml"))]),
                ),
            ]
            .into(),
        };
        let processing = Processing {
            templates,
            ..Processing::default()
        };
        Bench::with(Engine::V4, processing, Platform::default())
    }

    fn answered(failure: Failure, accept: Option<&str>) -> (u16, String, Option<String>) {
        let mut bench = bench();
        let mut exchange = bench.exchange();
        if let Some(accept) = accept {
            exchange
                .request
                .headers
                .add("Accept", accept)
                .expect("a field");
        }
        exchange
            .response
            .headers
            .add("Content-Length", "7")
            .expect("a field");
        exchange
            .response
            .headers
            .add("X-Kept", "1")
            .expect("a field");
        answer(&mut exchange, Box::new(failure));
        let response = &exchange.response;
        assert!(response.headers.contains("X-Kept"));
        assert!(!response.headers.contains("Content-Length"));
        let body = response.body.bytes().expect("a body in memory").to_vec();
        (
            response.status,
            String::from_utf8(body).expect("UTF-8"),
            response.headers.text("content-type").map(str::to_owned),
        )
    }

    #[test]
    fn a_template_is_found_by_key_umbrella_key_or_default_and_by_media_type() {
        let missing = || Failure::of(ErrorKey::ApiKeyMissing);
        for (failure, accept, status, body) in [
            (missing(), Some("application/json"), 421, "json"),
            (
                missing(),
                Some("text/html;q=0.9, application/json;q=0.1"),
                421,
                "json",
            ),
            (missing(), Some("text/html"), 422, "any"),
            (missing(), None, 422, "any"),
            (
                Failure::of(ErrorKey::GatewayClientConnectionRefused),
                None,
                598,
                "",
            ),
            (
                Failure::of(ErrorKey::NoEndpointFound),
                Some("text/xml"),
                423,
                "xml",
            ),
            (
                Failure::of(ErrorKey::NoEndpointFound),
                Some("text/html"),
                503,
                "",
            ),
            (
                Failure::internal(),
                Some("text/xml"),
                500,
                "Internal Server Error",
            ),
        ] {
            let found = answered(failure.clone(), accept);
            assert_eq!(
                (found.0, &*found.1),
                (status, body),
                "{failure:?} {accept:?}"
            );
        }
    }

    #[test]
    fn the_content_type_of_a_template_is_what_the_client_accepts() {
        let missing = || Failure::of(ErrorKey::ApiKeyMissing);
        let (_, _, content_type) = answered(missing(), Some("application/json"));
        assert_eq!(content_type.as_deref(), Some("application/json"));
        let (_, _, content_type) = answered(missing(), None);
        assert_eq!(content_type, None);
    }

    #[test]
    fn accepted_types_are_sorted_by_quality_then_by_how_concrete_they_are() {
        let values: [&[u8]; 2] = [b"*/*, text/*;q=1, a/b;q=0.5", b"c/d , ,e/f;level=1;q=1.0"];
        assert_eq!(
            accepted(values.into_iter()),
            ["c/d", "e/f", "text/*", "*/*", "a/b"]
        );
    }
}
