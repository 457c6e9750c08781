//! Our scripts, and what they answer. The data is laid out as the Java gateway lays it out (contract policies 6.6, 6.8), so that both may
//! count in one Redis.

use redis::Value;
use turnpike_core::quota::{CountError, CountRequest, GiveBack, Rate, TokenBucketRequest, Tokens};

use super::command::{Command, What};
use super::connect::text;

/// Prefix of counters.
const COUNTER: &str = "ratelimit:";
/// Prefix of token buckets.
const BUCKET: &str = "tokenbucket:";

/// A script, as an index into [`SOURCES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Count = 0,
    Lease = 1,
    Take = 2,
}

/// The texts of the scripts.
pub(super) const SOURCES: &[&str] = &[COUNT_SOURCE, LEASE_SOURCE, TAKE_SOURCE];

impl Script {
    pub(super) fn source(self) -> &'static str {
        SOURCES[self as usize]
    }
}

/// ARGV: weight, counter (unused), limit, reset, subscription. The first count of a window sets everything else and the expiry.
const COUNT_SOURCE: &str = "\
local known = redis.call('HEXISTS', KEYS[1], 'limit')
redis.call('HINCRBY', KEYS[1], 'counter', ARGV[1])
if known == 0 then
  redis.call('HSET', KEYS[1], 'limit', ARGV[3], 'reset', ARGV[4], 'subscription', ARGV[5])
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
return redis.call('HMGET', KEYS[1], 'counter', 'limit', 'reset', 'subscription')
";

/// ARGV: units wanted, units given back, limit, reset, subscription, reset of the window that they were granted in. Answers units granted,
/// counter, reset. The counter never goes beyond the limit, and the expiry is set last: a reset in the past must leave no key behind.
const LEASE_SOURCE: &str = "\
local held = redis.call('HMGET', KEYS[1], 'counter', 'limit', 'reset')
if tonumber(ARGV[2]) > 0 then
  if held[2] and held[3] == ARGV[6] then
    redis.call('HINCRBY', KEYS[1], 'counter', '-' .. ARGV[2])
    return {tonumber(ARGV[2]), 0, held[3]}
  end
  return {0, 0, ARGV[6]}
end
local counter = tonumber(held[1] or '0')
local left = tonumber(ARGV[3]) - counter
local units = tonumber(ARGV[1])
if left < 0 then left = 0 end
if units > left then units = left end
if units > 0 then
  counter = redis.call('HINCRBY', KEYS[1], 'counter', string.format('%.0f', units))
end
if not held[2] then
  redis.call('HSET', KEYS[1], 'counter', string.format('%.0f', counter), 'limit', ARGV[3], 'reset', ARGV[4], 'subscription', ARGV[5])
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
  return {units, counter, ARGV[4]}
end
return {units, counter, held[3]}
";

/// ARGV: tokens, capacity, refill, period, now, subscription. Answers 1 or 0, tokens left.
const TAKE_SOURCE: &str = "\
local wanted, capacity, refill = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local period, now = tonumber(ARGV[4]), tonumber(ARGV[5])
if period < 1 then period = 1 end
local held = redis.call('HMGET', KEYS[1], 'tokens', 'last_refill')
local tokens, anchor = tonumber(held[1] or ''), tonumber(held[2] or '')
if not tokens or not anchor then
  tokens = capacity
  anchor = now
end
if refill > 0 and now > anchor then
  local earned = math.floor((now - anchor) * refill / period)
  if earned >= 1 then
    tokens = tokens + earned
    anchor = anchor + math.floor(earned * period / refill)
  end
end
if tokens >= capacity then
  tokens = capacity
  if anchor < now then anchor = now end
end
local allowed = 0
if tokens >= wanted then
  tokens = tokens - wanted
  allowed = 1
end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.0f', tokens), 'last_refill', string.format('%.0f', anchor), 'subscription', ARGV[6])
local life = 2592000000
if refill > 0 then life = math.ceil(capacity * period / refill) + period end
if life < 1000 then life = 1000 end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + life))
return {allowed, tokens}
";

/// Counts (contract policies 6.6).
pub fn count(request: &CountRequest) -> Command {
    Command {
        key: format!("{COUNTER}{}", request.key),
        what: What::Script(Script::Count),
        arguments: vec![
            request.weight.to_string().into_bytes(),
            b"0".to_vec(),
            request.limit.to_string().into_bytes(),
            request.reset_at_ms.to_string().into_bytes(),
            request.subscription.as_bytes().to_vec(),
        ],
    }
}

/// Takes up to so many units of what is left of the request's limit.
pub fn lease(request: &CountRequest, units: u64) -> Command {
    Command {
        key: format!("{COUNTER}{}", request.key),
        what: What::Script(Script::Lease),
        arguments: vec![
            units.to_string().into_bytes(),
            b"0".to_vec(),
            request.limit.to_string().into_bytes(),
            request.reset_at_ms.to_string().into_bytes(),
            request.subscription.as_bytes().to_vec(),
            b"0".to_vec(),
        ],
    }
}

/// Gives units back to the window they were granted in; to no other.
pub fn give_back(back: &GiveBack) -> Command {
    let reset = back.reset_at_ms.to_string().into_bytes();
    Command {
        key: format!("{COUNTER}{}", back.key),
        what: What::Script(Script::Lease),
        arguments: vec![
            b"0".to_vec(),
            back.units.to_string().into_bytes(),
            b"0".to_vec(),
            reset.clone(),
            Vec::new(),
            reset,
        ],
    }
}

/// Takes tokens from a bucket (contract policies 6.8).
pub fn take_tokens(request: &TokenBucketRequest) -> Command {
    Command {
        key: format!("{BUCKET}{}", request.key),
        what: What::Script(Script::Take),
        arguments: [
            request.tokens,
            request.capacity,
            request.refill,
            request.period_ms,
            request.now_ms,
        ]
        .iter()
        .map(|number| number.to_string().into_bytes())
        .chain([request.subscription.as_bytes().to_vec()])
        .collect(),
    }
}

/// The counter; `None` when the key was gone at once, because its reset has passed.
pub type CountReply = Option<Rate>;

/// What was granted or taken back, and the counter and reset after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseReply {
    /// Units.
    pub units: u64,
    /// The counter, these units included.
    pub counter: i64,
    /// End of the window, Unix milliseconds.
    pub reset_at_ms: u64,
}

fn odd(what: &str) -> CountError {
    CountError::Store(format!("Redis answered {what} with something unexpected").into())
}

fn number<T: std::str::FromStr>(value: &Value) -> Option<T> {
    text(value).parse().ok()
}

/// Reads the answer to [`count`].
pub fn parse_count(value: &Value) -> Result<CountReply, CountError> {
    let Value::Array(parts) = value else {
        return Err(odd("a count"));
    };
    match parts.as_slice() {
        [Value::Nil, ..] => Ok(None),
        [counter, _, reset, ..] => Ok(Some(Rate {
            counter: number(counter).ok_or_else(|| odd("a count"))?,
            reset_at_ms: number(reset).ok_or_else(|| odd("a count"))?,
        })),
        _ => Err(odd("a count")),
    }
}

/// Reads the answer to [`lease`] and [`give_back`].
pub fn parse_lease(value: &Value) -> Result<LeaseReply, CountError> {
    let parts = match value {
        Value::Array(parts) => parts.as_slice(),
        _ => &[],
    };
    let [units, counter, reset] = parts else {
        return Err(odd("a lease"));
    };
    Ok(LeaseReply {
        units: number(units).ok_or_else(|| odd("a lease"))?,
        counter: number(counter).ok_or_else(|| odd("a lease"))?,
        reset_at_ms: number(reset).ok_or_else(|| odd("a lease"))?,
    })
}

/// Reads the answer to [`take_tokens`].
pub fn parse_tokens(value: &Value) -> Result<Tokens, CountError> {
    let parts = match value {
        Value::Array(parts) => parts.as_slice(),
        _ => &[],
    };
    let [allowed, left] = parts else {
        return Err(odd("a take"));
    };
    Ok(Tokens {
        allowed: number::<u64>(allowed) == Some(1),
        left: number(left).ok_or_else(|| odd("a take"))?,
    })
}
