//! `http.*` or `servers[]`, and `gateway.runtime.*`.

use super::Reader;
use super::reader::LIST_ITEMS_MAX;
use crate::cpu;
use crate::diagnostic::Severity;
use crate::settings::{DriverChoice, RuntimeConfig, ServerConfig};

/// The list when there is one, else the single server of `http.*`.
pub(super) fn servers(reader: &mut Reader<'_>) -> Vec<ServerConfig> {
    let count = count(reader);
    if count == 0 {
        return vec![server(reader, "http")];
    }
    let servers: Vec<ServerConfig> = (0..count)
        .map(|index| server(reader, &format!("servers[{index}]")))
        .collect();
    for (index, server) in servers.iter().enumerate() {
        let twin = servers[..index].iter().position(|other| {
            let same_address =
                other.host == server.host || other.host == "0.0.0.0" || server.host == "0.0.0.0";
            other.port == server.port && server.port != 0 && same_address
        });
        if let Some(twin) = twin {
            let what = format!(
                "expected a port of its own, found {}, which is the port of servers[{twin}] too",
                server.port
            );
            reader.about(
                Severity::Error,
                &format!("servers[{index}].port"),
                &what,
                "give every server its own port or address",
            );
        }
    }
    servers
}

/// Number of entries of `servers[]` over all sources.
pub(super) fn count(reader: &Reader<'_>) -> usize {
    (0..LIST_ITEMS_MAX)
        .take_while(|index| reader.raw.any_under(&format!("servers[{index}].")))
        .count()
}

fn server(reader: &mut Reader<'_>, prefix: &str) -> ServerConfig {
    let default = ServerConfig::default();
    let key = |name: &str| format!("{prefix}.{name}");
    let id = if prefix == "http" {
        None
    } else {
        reader.choice(&key("type"), &[("http", ())]);
        reader.text(&key("id"))
    };
    ServerConfig {
        id,
        host: reader.text(&key("host")).unwrap_or(default.host),
        port: reader.number_as(&key("port")).unwrap_or(default.port),
        initial_line_bytes_max: reader
            .number_as(&key("maxInitialLineLength"))
            .unwrap_or(default.initial_line_bytes_max),
        header_bytes_max: reader
            .number_as(&key("maxHeaderSize"))
            .unwrap_or(default.header_bytes_max),
        header_fields_max: reader
            .number_as(&key("maxHeaderFields"))
            .unwrap_or(default.header_fields_max),
        // The reference counts seconds.
        idle_timeout_ms: reader
            .number(&key("idleTimeout"))
            .map_or(default.idle_timeout_ms, |seconds| seconds * 1_000),
        head_timeout_ms: reader
            .number(&key("headTimeout"))
            .unwrap_or(default.head_timeout_ms),
        connections_max: reader
            .number_as(&key("maxConnections"))
            .unwrap_or(default.connections_max),
        tcp_keep_alive: reader
            .flag(&key("tcpKeepAlive"))
            .unwrap_or(default.tcp_keep_alive),
        backlog: reader.number_as(&key("backlog")).unwrap_or(default.backlog),
    }
}

pub(super) fn runtime(reader: &mut Reader<'_>) -> RuntimeConfig {
    let default = RuntimeConfig::default();
    let drivers = [
        ("auto", DriverChoice::Auto),
        ("io_uring", DriverChoice::IoUring),
        ("epoll", DriverChoice::Epoll),
    ];
    let cpus =
        reader
            .value("gateway.runtime.cpus")
            .and_then(|value| match cpu::parse_list(&value.text) {
                Ok(cpus) => Some(cpus),
                Err(error) => {
                    let what = error.to_string();
                    reader.about(
                        Severity::Error,
                        "gateway.runtime.cpus",
                        &what,
                        "write CPUs and ranges, for example `0-3,8`",
                    );
                    None
                }
            });
    RuntimeConfig {
        driver: reader
            .choice("gateway.runtime.driver", &drivers)
            .unwrap_or(default.driver),
        cpus,
        workers: reader.number_as("gateway.runtime.workers"),
        ring_entries: reader
            .number_as("gateway.runtime.ringEntries")
            .unwrap_or(default.ring_entries),
        report_ring_bytes: reader
            .number_as("gateway.runtime.reportRingBytes")
            .unwrap_or(default.report_ring_bytes),
        body_bytes_max: reader
            .number_as("gateway.policies.bodyBytesMax")
            .unwrap_or(default.body_bytes_max),
    }
}
