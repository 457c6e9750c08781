//! The `http` block of an endpoint or a group: timeouts and pool limits (contract api-definition 2.4.2 and 3.3.2).

use turnpike_core::definition::ConnectorOptions;

use super::Scope;
use super::reader::Node;
use super::refusal::Refusal;

/// What a request to an endpoint needs to know of its `http` block.
#[derive(Debug, Default)]
pub(super) struct HttpOptions {
    pub(super) connector: ConnectorOptions,
    pub(super) propagate_client_host: bool,
    pub(super) propagate_client_accept_encoding: bool,
    pub(super) follow_redirects: bool,
}

/// Reads the block; an absent one is all defaults. A negative time or an empty pool is refused: the reference's client throws.
pub(super) fn http_options(
    http: Option<&Node<'_>>,
    scope: &mut Scope<'_>,
) -> Result<HttpOptions, Refusal> {
    let v2 = scope.engine.is_v2();
    let defaults = ConnectorOptions {
        connections_max: if v2 { 100 } else { 20 },
        ..ConnectorOptions::default()
    };
    let Some(http) = http else {
        return Ok(HttpOptions {
            connector: defaults,
            ..HttpOptions::default()
        });
    };
    let version = http.text("version")?.unwrap_or_default();
    if matches!(
        version.to_ascii_uppercase().as_str(),
        "HTTP_2" | "HTTP_2_0" | "HTTP/2"
    ) {
        return Err(http.unsupported("version", "HTTP/2 to a backend"));
    }
    note_without_effect(http, scope)?;
    let use_compression = http.boolean("useCompression", true)?;
    let connector = ConnectorOptions {
        connect_timeout_ms: millis(http, "connectTimeout", defaults.connect_timeout_ms)?,
        read_timeout_ms: millis(http, "readTimeout", defaults.read_timeout_ms)?,
        idle_timeout_ms: whole_seconds(millis(http, "idleTimeout", defaults.idle_timeout_ms)?),
        keep_alive: http.boolean("keepAlive", true)?,
        keep_alive_timeout_ms: whole_seconds(millis(
            http,
            "keepAliveTimeout",
            defaults.keep_alive_timeout_ms,
        )?),
        connections_max: bounded(
            http,
            "maxConcurrentConnections",
            i64::from(defaults.connections_max),
            1,
            "1",
        )?,
        wait_queue_max: if v2 { -1 } else { wait_queue_max(http)? },
        connection_lifetime_max_ms: if v2 {
            0
        } else {
            millis(http, "maxConnectionLifetime", 0)?
        },
        response_head_bytes_max: bounded(http, "maxHeaderSize", 8_192, 1, "1")?,
        proxy: None,
    };
    let accept_encoding = http.boolean("propagateClientAcceptEncoding", false)?;
    Ok(HttpOptions {
        connector,
        propagate_client_host: !v2 && http.boolean("propagateClientHost", false)?,
        propagate_client_accept_encoding: accept_encoding && (v2 || !use_compression),
        follow_redirects: http.boolean("followRedirects", false)?,
    })
}

fn note_without_effect(http: &Node<'_>, scope: &mut Scope<'_>) -> Result<(), Refusal> {
    if http.boolean("useCompression", false)? {
        scope.notes.push(
            http.path_of("useCompression"),
            "has no effect yet: compressed answers are not asked for",
        );
    }
    if http.boolean("pipelining", false)? {
        scope.notes.push(
            http.path_of("pipelining"),
            "has no effect: a connection carries one request at a time",
        );
    }
    Ok(())
}

/// The reference's client counts these times in whole seconds.
fn whole_seconds(time_ms: u32) -> u32 {
    time_ms / 1_000 * 1_000
}

fn millis(http: &Node<'_>, name: &str, default_ms: u32) -> Result<u32, Refusal> {
    bounded(http, name, i64::from(default_ms), 0, "0")
}

/// -1 (any negative number) is no limit.
fn wait_queue_max(http: &Node<'_>) -> Result<i32, Refusal> {
    let requests = http.integer("maxWaitQueueSize", -1)?;
    Ok(if requests < 0 {
        -1
    } else {
        i32::try_from(requests).unwrap_or(i32::MAX)
    })
}

fn bounded(
    http: &Node<'_>,
    name: &str,
    default: i64,
    least: i64,
    shown: &str,
) -> Result<u32, Refusal> {
    let number = http.integer(name, default)?;
    if number < least {
        return Err(http.refuse_member(
            name,
            format!("expected a number of at least {shown}, found {number}"),
        ));
    }
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}
