//! An authorization server: how it is asked about a token, and how its answer is read (contract policies 5.1).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Introspection, Payload};
use crate::el::Template;
use crate::exchange::Exchange;
use crate::ident::{IdFormat, IdGenerator};
use crate::need::{HttpCall, HttpError, HttpOptions, HttpReply};

/// Bytes of an answer at most.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// How the token is handed over.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// Name of the query parameter.
    pub(crate) query: Option<Template>,
    /// Name of the header field.
    pub(crate) header: Option<Template>,
    /// Name of the form field, for `POST`.
    pub(crate) form: Option<Template>,
}

/// How the gateway proves who it is.
pub(crate) struct ClientAuthorization {
    pub(crate) header: Template,
    pub(crate) scheme: Template,
    pub(crate) id: Template,
    pub(crate) secret: Template,
}

/// The secret never shows.
impl std::fmt::Debug for ClientAuthorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientAuthorization")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// An endpoint: how it is called, what stands before it, and its own path or URL.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) post: bool,
    pub(crate) server: Template,
    pub(crate) endpoint: Template,
}

/// An authorization server, as a resource of an API describes it.
#[derive(Debug)]
pub struct AuthorizationServer {
    pub(crate) introspection: Option<Location>,
    pub(crate) userinfo: Option<Location>,
    pub(crate) handover: Handover,
    pub(crate) authorization: Option<ClientAuthorization>,
    pub(crate) user_claim: Box<str>,
    /// What `active` means when it is absent.
    pub(crate) active_by_default: bool,
    pub(crate) options: Arc<HttpOptions>,
}

impl AuthorizationServer {
    /// Claim that names the user.
    pub fn user_claim(&self) -> &str {
        &self.user_claim
    }

    /// The address that clients know the server by, for the metadata of a protected resource.
    pub(crate) fn address(&self, exchange: &Exchange<'_>) -> Option<String> {
        text(&self.introspection.as_ref()?.server, exchange)
            .ok()
            .filter(|server| !server.is_empty())
            .map(Cow::into_owned)
    }

    /// The call that asks about a token; the error says what is wrong with the configuration.
    pub(crate) fn introspect(
        &self,
        exchange: &mut Exchange<'_>,
        token: &str,
    ) -> Result<HttpCall, String> {
        let location = self
            .introspection
            .as_ref()
            .ok_or("no introspection endpoint is configured")?;
        let mut headers = standard_headers(exchange);
        let exchange = &*exchange;
        let mut url = location.url(exchange)?;
        let token = escape(token);
        if let Some(name) = &self.handover.query {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&text(name, exchange)?);
            url.push('=');
            url.push_str(&token);
        }
        if let Some(client) = &self.authorization {
            let pair = format!(
                "{}:{}",
                text(&client.id, exchange)?,
                text(&client.secret, exchange)?
            );
            let scheme = text(&client.scheme, exchange)?;
            headers.push((
                Cow::Owned(text(&client.header, exchange)?.into_owned()),
                format!("{scheme} {}", STANDARD.encode(pair)),
            ));
        }
        if let Some(name) = &self.handover.header {
            let name = text(name, exchange)?.into_owned();
            headers.push((Cow::Owned(name), token.to_string()));
        }
        let mut body = Vec::new();
        if let Some(name) = self.handover.form.as_ref().filter(|_| location.post) {
            headers.push((
                Cow::Borrowed("Content-Type"),
                "application/x-www-form-urlencoded".to_owned(),
            ));
            body = format!("{}={token}", text(name, exchange)?).into_bytes();
        }
        Ok(HttpCall {
            method: location.method(),
            url: url.into(),
            headers,
            body,
            options: Arc::clone(&self.options),
        })
    }

    /// The call that asks who the user of a token is; 200 means that the token is good.
    pub fn userinfo(&self, exchange: &mut Exchange<'_>, token: &str) -> Result<HttpCall, String> {
        let location = self
            .userinfo
            .as_ref()
            .ok_or("no userinfo endpoint is configured")?;
        let mut headers = standard_headers(exchange);
        headers.push((
            Cow::Borrowed("Authorization"),
            format!("Bearer {}", escape(token)),
        ));
        Ok(HttpCall {
            method: location.method(),
            url: location.url(exchange)?.into(),
            headers,
            body: Vec::new(),
            options: Arc::clone(&self.options),
        })
    }

    /// What the answer to [`Self::introspect`] says. Anything but a readable 200 means that the server cannot be asked, also when it
    /// refuses the token with 400 or 401, as in the reference.
    pub(crate) fn read(&self, reply: Result<Box<HttpReply>, HttpError>) -> Introspection {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return Introspection::Unavailable(error.to_string().into()),
        };
        if reply.status != 200 {
            return Introspection::Unavailable(
                format!("the authorization server answered {}", reply.status).into(),
            );
        }
        let payload = Payload::new(String::from_utf8_lossy(&reply.body));
        if !payload.is_readable() {
            return Introspection::Unavailable("the authorization server sent no JSON".into());
        }
        if payload.active().unwrap_or(self.active_by_default) {
            Introspection::Accepted(Arc::new(payload))
        } else {
            Introspection::Rejected("the token is not active".into())
        }
    }
}

impl Location {
    fn method(&self) -> Box<str> {
        if self.post { "POST" } else { "GET" }.into()
    }

    /// The server and the endpoint as one URL; runs of slashes are one slash, but for those behind the scheme.
    fn url(&self, exchange: &Exchange<'_>) -> Result<String, String> {
        let server = text(&self.server, exchange)?;
        let endpoint = text(&self.endpoint, exchange)?;
        let joined = if server.is_empty() {
            endpoint.into_owned()
        } else {
            format!("{server}/{endpoint}")
        };
        let (scheme, rest) = joined
            .split_once(':')
            .filter(|(scheme, _)| {
                scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
            })
            .ok_or("the URL of the authorization server is not absolute")?;
        let mut url = format!("{scheme}://");
        let mut after_slash = true;
        for character in rest.trim_start_matches('/').chars() {
            if character != '/' || !after_slash {
                url.push(character);
            }
            after_slash = character == '/';
        }
        Ok(url)
    }
}

fn standard_headers(exchange: &mut Exchange<'_>) -> Vec<(Cow<'static, str>, String)> {
    let seed = std::array::from_fn(|_| exchange.random());
    let id = IdGenerator::new(seed).next_id(IdFormat::Uuid);
    let id = String::from_utf8_lossy(id.as_bytes()).into_owned();
    vec![
        (Cow::Borrowed("User-Agent"), "Turnpike".to_owned()),
        (Cow::Borrowed("X-Gravitee-Request-Id"), id),
        (Cow::Borrowed("Accept"), "application/json".to_owned()),
    ]
}

fn text<'t>(template: &'t Template, exchange: &'t Exchange<'_>) -> Result<Cow<'t, str>, String> {
    template
        .eval_text(exchange)
        .map(Option::unwrap_or_default)
        .map_err(|error| error.to_string())
}

/// Characters that no token is made of are escaped: they could add parameters of their own. Everything else is sent as it is.
fn escape(token: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=:!*".contains(&byte);
    if token.bytes().all(plain) {
        return Cow::Borrowed(token);
    }
    let mut escaped = String::with_capacity(token.len() + 16);
    for byte in token.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    Cow::Owned(escaped)
}
