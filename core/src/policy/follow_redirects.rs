//! `followRedirects` of an endpoint: calls the place that a response points to, by the rules of [`redirect`]. Not a policy of flows: the chain
//! puts it around the call, further in than any other wrapper.

use std::sync::Arc;

use super::{Policy, Verdict};
use crate::exchange::{Body, Call, Exchange, Redirect};
use crate::flow::{NOT_COUNTED, Step};
use crate::http::{Method, RequestBody};
use crate::redirect;

#[derive(Debug)]
struct FollowRedirects;

/// The step that the chain puts around the call.
pub fn step() -> Step {
    Step {
        name: "followRedirects".into(),
        policy_index: NOT_COUNTED,
        policy: Arc::new(FollowRedirects),
        conditions: [].into(),
        needs: Default::default(),
    }
}

impl Policy for FollowRedirects {
    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        // A call that a wrapper further out repeats begins where the first one did.
        if exchange.carry.is_none() {
            exchange.redirect = None;
        }
        Verdict::Continue
    }

    fn after_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let hops = exchange.carried::<usize>().copied().unwrap_or(0);
        let Some(followed) = followed(exchange).filter(|_| hops < redirect::HOPS_MAX) else {
            exchange.carry = None;
            return Verdict::Continue;
        };
        exchange.request.body = Body::None;
        exchange.request.framing = RequestBody::None;
        exchange.redirect = Some(followed);
        exchange.carry = Some(Box::new(hops + 1));
        Verdict::Again(0)
    }
}

/// Where the response points to; `None` when it is not to be followed.
fn followed(exchange: &Exchange<'_>) -> Option<Redirect> {
    if !matches!(exchange.call, Call::Answered) || !exchange.endpoint?.follow_redirects {
        return None;
    }
    let before = exchange.redirect.as_ref();
    let asked = before.map_or(exchange.request.method, |redirect| redirect.method);
    let method = redirect::method_after(exchange.response.status, asked.as_str())?;
    let location = exchange.response.headers.text("location")?;
    let base = &exchange.called_uri;
    let url = redirect::resolve(base, location)?;
    let crosses_origins = before.is_some_and(|redirect| redirect.crosses_origins)
        || !redirect::is_same_origin(base, &url);
    Some(Redirect {
        method: Method::of(method.as_bytes()),
        url,
        crosses_origins,
    })
}
