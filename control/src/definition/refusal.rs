//! Why an API is not served, and what was accepted without effect.

use std::fmt;

/// Notes kept per API; more are counted, not kept.
const NOTES_MAX: usize = 100;

/// What kind of reason a [`Refusal`] has: it decides what happens to a previous deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The text is not a JSON object, or too long.
    Malformed,
    /// A member that must be there is missing, or has a form that cannot be read.
    Invalid,
    /// A member asks for something that is not built, or for a policy that is not known.
    Unsupported,
    /// The configuration of a policy or a resource cannot be used.
    Configuration,
    /// No plan is left to serve: none is published, or their sharding tags do not match.
    NoPlan,
    /// The API's sharding tags do not match the gateway's.
    NotEligible,
}

/// The member that stops an API, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// JSON path of the member, such as `plans[1].security.type`.
    pub member: String,
    /// What was expected and what was found.
    pub reason: String,
    /// What an operator can do about it.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    pub(crate) fn new(
        kind: RefusalKind,
        member: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            member: member.into(),
            reason: reason.into(),
            hint: None,
        }
    }

    pub(super) fn malformed(reason: String) -> Self {
        Self::new(RefusalKind::Malformed, "definition", reason)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether a previous deployment of the API must go: it is no longer meant for this gateway. For every other refusal the
    /// previous deployment stays.
    pub fn undeploys(&self) -> bool {
        matches!(self.kind, RefusalKind::NoPlan | RefusalKind::NotEligible)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.reason)?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// A member that was accepted without effect, or an endpoint that could not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// JSON path of the member.
    pub member: String,
    /// What becomes of it.
    pub text: String,
    /// The reference warns about it, too.
    pub is_warning: bool,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.text)
    }
}

/// Collects notes up to [`NOTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Notes {
    kept: Vec<Note>,
    dropped: usize,
}

impl Notes {
    pub(super) fn push(&mut self, member: impl Into<String>, text: impl Into<String>) {
        self.keep(Note {
            member: member.into(),
            text: text.into(),
            is_warning: false,
        });
    }

    /// A note that an operator must not overlook.
    pub(super) fn warn(&mut self, member: impl Into<String>, text: impl Into<String>) {
        self.keep(Note {
            member: member.into(),
            text: text.into(),
            is_warning: true,
        });
    }

    fn keep(&mut self, note: Note) {
        if self.kept.contains(&note) {
            return;
        }
        if self.kept.len() < NOTES_MAX {
            self.kept.push(note);
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn finish(mut self) -> Vec<Note> {
        if self.dropped > 0 {
            let text = format!("{} more notes are not shown", self.dropped);
            self.kept.push(Note {
                member: "definition".to_owned(),
                text,
                is_warning: false,
            });
        }
        self.kept
    }
}
