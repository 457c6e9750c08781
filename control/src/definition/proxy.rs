//! The `proxy` block of an endpoint: a forward proxy on the way to the backend (contract api-definition 2.4.4 and 3.3.2).

use turnpike_core::definition::{ForwardProxy, ProxyKind};

use super::Scope;
use super::endpoint::Fault;
use super::reader::{Node, quote};
use super::refusal::Refusal;

/// Longest text that SOCKS carries, bytes.
const SOCKS_TEXT_BYTES_MAX: usize = 255;

/// Reads the block; `None` when it is not enabled.
pub(super) fn forward_proxy(
    proxy: &Node<'_>,
    scope: &Scope<'_>,
) -> Result<Option<ForwardProxy>, Fault> {
    if !proxy.boolean("enabled", false)? {
        return Ok(None);
    }
    if proxy.boolean("useSystemProxy", false)? {
        let system = scope.context.system_proxy.as_ref().ok_or_else(|| {
            proxy
                .refuse_member("useSystemProxy", "there is no system proxy")
                .hint("set `system.proxy.host`, or name the proxy in the endpoint")
        })?;
        return Ok(Some(ForwardProxy {
            kind: ProxyKind::Http,
            host: system.host.as_str().into(),
            port: system.port,
            credentials: system
                .credentials
                .as_ref()
                .map(|(user, password)| (user.as_str().into(), password.expose().into())),
        }));
    }
    let text = |member: &str| -> Result<Option<String>, Fault> {
        let Some(node) = proxy.member(member) else {
            return Ok(None);
        };
        let written = node.as_text()?;
        if written.trim().is_empty() {
            return Ok(None);
        }
        let text = scope
            .properties
            .expand(&written)
            .map_err(|unexpanded| unexpanded.fault(&node))?;
        Ok(Some(text.trim().to_owned()))
    };
    let host = text("host")?
        .ok_or_else(|| proxy.refuse_member("host", "expected the proxy's host, found nothing"))?;
    let port = proxy.integer("port", 0)?;
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| {
            proxy.refuse_member(
                "port",
                format!("expected a port from 1 to 65535, found {port}"),
            )
        })?;
    let written = proxy.text("type")?.unwrap_or_default();
    let kind = match written.trim().to_ascii_uppercase().as_str() {
        "" | "HTTP" => ProxyKind::Http,
        "SOCKS4" => ProxyKind::Socks4,
        "SOCKS5" => ProxyKind::Socks5,
        _ => {
            let reason = format!("expected HTTP, SOCKS4 or SOCKS5, found {}", quote(&written));
            return Err(proxy.refuse_member("type", reason).into());
        }
    };
    let password = text("password")?;
    let credentials = text("username")?.map(|user| (user, password.unwrap_or_default()));
    if let Some((user, password)) = &credentials {
        check_credentials(proxy, user, password)?;
    }
    Ok(Some(ForwardProxy {
        kind,
        host: host.trim_matches(['[', ']']).into(),
        port,
        credentials: credentials.map(|(user, password)| (user.into(), password.into())),
    }))
}

fn check_credentials(proxy: &Node<'_>, user: &str, password: &str) -> Result<(), Refusal> {
    for (member, text) in [("username", user), ("password", password)] {
        if text.len() > SOCKS_TEXT_BYTES_MAX || text.contains('\0') {
            let reason = format!("expected at most {SOCKS_TEXT_BYTES_MAX} bytes without NUL");
            return Err(proxy.refuse_member(member, reason));
        }
    }
    Ok(())
}
