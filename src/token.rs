//! `turnpike token`.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use turnpike_control::token::{
    CloudToken, IssueRequest, SignatureCheck, SigningKey, TOKEN_BYTES_MAX, inspect, issue,
};

use crate::cli::{TokenCommand, TokenInspectOptions, TokenIssueOptions};

const SECONDS_PER_DAY: i64 = 86_400;

pub(crate) fn run(command: &TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Issue(options) => run_issue(options),
        TokenCommand::Inspect(options) => run_inspect(options),
    }
}

/// Prints the token alone on standard output, so that it can be captured; everything else goes to standard error.
fn run_issue(options: &TokenIssueOptions) -> anyhow::Result<ExitCode> {
    let key = SigningKey::load_or_create(&options.data)?;
    let request = request(options, now_s()?)?;
    let token = issue(&request, &key)?;
    CloudToken::parse(&token).context("a gateway would not take this token")?;
    println!("{token}");
    eprintln!(
        "issued token {} for organization {}, environments {}, {}",
        request.id,
        request.organization,
        request.environments.join(", "),
        if options.days < 0 {
            "already expired".to_owned()
        } else {
            format!("valid for {} days", options.days)
        },
    );
    eprintln!(
        "its public key, for cloud.verification.publicKeyPath: {}",
        key.public_key_path().display()
    );
    Ok(ExitCode::SUCCESS)
}

fn request(options: &TokenIssueOptions, now_s: i64) -> anyhow::Result<IssueRequest> {
    let lifetime_s = options
        .days
        .checked_mul(SECONDS_PER_DAY)
        .filter(|lifetime_s| now_s.checked_add(*lifetime_s).is_some_and(|at| at > 0))
        .with_context(|| {
            format!(
                "--days: expected a number of days within the calendar, found {}",
                options.days
            )
        })?;
    if let Some(url) = &options.gateway_url
        && !url.starts_with("https://")
        && !url.starts_with("http://")
    {
        bail!("--gateway-url: expected a URL such as https://127.0.0.1:8072, found {url:?}");
    }
    let mut request = IssueRequest::new(&options.org, options.envs.clone(), now_s, lifetime_s);
    request.geography.clone_from(&options.cpg);
    request.gateway_url = options
        .gateway_url
        .as_ref()
        .map(|url| url.trim_end_matches('/').to_owned());
    Ok(request)
}

/// Fails when a gateway with default settings would refuse the token, or the signature does not match the given key.
fn run_inspect(options: &TokenInspectOptions) -> anyhow::Result<ExitCode> {
    let text = match &options.token {
        Some(token) => token.clone(),
        None => {
            let mut text = String::new();
            std::io::stdin()
                .take(TOKEN_BYTES_MAX as u64 + 1)
                .read_to_string(&mut text)
                .context("the token could not be read from standard input")?;
            text
        }
    };
    let pem = match &options.public_key {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("{} could not be read", path.display()))?,
        ),
        None => None,
    };
    let inspection = inspect(text.trim(), pem.as_deref(), now_s()?)?;
    print!("{inspection}");
    let acceptable = inspection.problems.is_empty()
        && !matches!(inspection.signature, SignatureCheck::Invalid(_));
    Ok(if acceptable {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn now_s() -> anyhow::Result<i64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    i64::try_from(since.as_secs()).context("the clock is too far ahead")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(days: i64, gateway_url: Option<&str>) -> TokenIssueOptions {
        TokenIssueOptions {
            data: "unused".into(),
            gateway_url: gateway_url.map(str::to_owned),
            org: "ORG".to_owned(),
            envs: vec!["A".to_owned(), "B".to_owned()],
            cpg: "local".to_owned(),
            days,
        }
    }

    #[test]
    fn days_become_an_expiry_and_may_be_negative() {
        for (days, expires_at_s) in [(1, 1_000_086_400), (-1, 999_913_600), (0, 1_000_000_000)] {
            let request = request(&options(days, None), 1_000_000_000).expect("a request");
            assert_eq!(
                (request.issued_at_s, request.expires_at_s),
                (1_000_000_000, expires_at_s)
            );
            assert_eq!(request.environments, ["A", "B"]);
        }
        assert!(request(&options(i64::MAX, None), 1_000_000_000).is_err());
        assert!(request(&options(-20_000, None), 1_000_000_000).is_err());
    }

    #[test]
    fn a_gateway_url_must_be_one() {
        let request_for = |url| request(&options(1, Some(url)), 0);
        assert_eq!(
            request_for("https://gate:1/")
                .expect("a request")
                .gateway_url
                .as_deref(),
            Some("https://gate:1")
        );
        assert!(request_for("gate:8072").is_err());
    }
}
