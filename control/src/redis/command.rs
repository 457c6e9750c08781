//! One command on one key.

use redis::Pipeline;

use super::script::Script;

/// One command on one key.
#[derive(Debug, Clone)]
pub struct Command {
    /// The key, prefix included.
    pub key: String,
    pub(super) what: What,
    pub(super) arguments: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// One of our scripts; the key is its only key.
    Script(Script),
    /// A command that takes the key first.
    Plain(&'static str),
}

impl Command {
    /// A command that takes the key first.
    pub fn plain(name: &'static str, key: String, arguments: Vec<Vec<u8>>) -> Self {
        Self {
            key,
            what: What::Plain(name),
            arguments,
        }
    }

    /// Writes it: a script by the server's name for it, or in full when `names` has none.
    pub(super) fn pack(&self, pipeline: &mut Pipeline, names: &[String]) {
        match self.what {
            What::Script(script) => {
                match names.get(script as usize) {
                    Some(name) => pipeline.cmd("EVALSHA").arg(name.as_str()),
                    None => pipeline.cmd("EVAL").arg(script.source()),
                };
                pipeline.arg(1).arg(self.key.as_str());
            }
            What::Plain(name) => {
                pipeline.cmd(name).arg(self.key.as_str());
            }
        }
        for argument in &self.arguments {
            pipeline.arg(argument.as_slice());
        }
    }
}
