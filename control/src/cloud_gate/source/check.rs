//! Definition files checked the way they would be served: read as the Cloud Gate reads them, compiled as a gateway does.

use crate::definition::{ApiInput, CompileContext, Note, compile};

use super::Syntax;
use super::document::ApiDocument;

/// Something about a definition file that its author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// JSON path of the member; empty for the file as a whole.
    pub member: String,
    /// Line and column, when the text itself cannot be read.
    pub at: Option<(usize, usize)>,
    /// What was expected and what was found.
    pub reason: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

/// Whether a file of this name holds a definition: JSON or YAML, and not the file of subscriptions.
pub fn is_definition_file(name: &str) -> bool {
    Syntax::of(name).is_some() && !name.starts_with('.') && !name.starts_with("subscriptions.")
}

/// Checks the text of the definition file `name`. `Err` refuses the API; the notes say which members have no effect.
pub fn check_definition(
    name: &str,
    text: &str,
    context: &CompileContext,
) -> Result<Vec<Note>, FileProblem> {
    let problem = |reason: String| FileProblem {
        member: String::new(),
        at: None,
        reason,
        hint: None,
    };
    let syntax = Syntax::of(name)
        .ok_or_else(|| problem("expected a .json, .yaml or .yml file".to_owned()))?;
    let document = ApiDocument::parse(name, syntax, text).map_err(|found| FileProblem {
        at: found
            .line
            .zip(found.column)
            .map(|(line, column)| (line as usize, column as usize)),
        ..problem(found.reason)
    })?;
    let record = &document.record;
    let input = ApiInput {
        definition: record.definition.as_deref().unwrap_or_default(),
        definition_version: record.definition_version.as_deref(),
        api_type: record.api_type.as_deref(),
        ..ApiInput::default()
    };
    match compile(&input, context) {
        Ok(compiled) => Ok(compiled.warnings),
        Err(refusal) => Err(FileProblem {
            member: refusal.member,
            at: None,
            reason: refusal.reason,
            hint: refusal.hint,
        }),
    }
}
