//! Why an operator does not get what he asked for.

use serde::Serialize;
use serde_json::Value;

use crate::api::{NotSaved, Refusal, RefusalCode};
use crate::store::Unsaved;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A safety rule forbids it; the message says how to override it, where that is possible.
    #[error("{message}")]
    Refused {
        /// Name of the rule, for programs.
        rule: String,
        /// What would happen, and how to override.
        message: String,
    },
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It is in force, and stays so, but would be forgotten at a restart.
    #[error(
        "it is in force, but not saved, and would be forgotten at a restart: {why}. The daemon goes on trying; \
         `scanguard status` shows whether it still has to"
    )]
    Unsaved {
        /// What would be answered if it were saved, with `applied` and `saved`: a JSON object.
        answer: Value,
        /// Why it is not saved.
        why: String,
    },
    /// It failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl OperatorError {
    /// What is answered where something is in force and not saved.
    #[must_use]
    pub fn unsaved(answer: &impl Serialize, unsaved: Unsaved) -> Self {
        let Unsaved { why } = unsaved;
        let more = NotSaved { applied: true, saved: false, unsaved_because: why.clone() };
        let (mut answer, more) = (to_value(answer), to_value(&more));
        if let (Some(fields), Value::Object(more)) = (answer.as_object_mut(), more) {
            for (name, value) in more {
                fields.entry(name).or_insert(value); // A signal says itself whether it was applied.
            }
        }
        Self::Unsaved { answer, why }
    }

    /// The same from what came over the control socket; none where that is no such answer.
    #[must_use]
    pub fn from_unsaved(answer: Value) -> Option<Self> {
        let NotSaved { saved, unsaved_because: why, .. } = serde_json::from_value(answer.clone()).ok()?;
        (!saved).then_some(Self::Unsaved { answer, why })
    }

    /// As the control socket tells it.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let (code, rule) = match self {
            Self::Usage(_) => (RefusalCode::Usage, None),
            Self::Refused { rule, .. } => (RefusalCode::Refused, Some(rule.clone())),
            Self::NotFound(_) => (RefusalCode::NotFound, None),
            Self::Unsaved { .. } | Self::Failed(_) => (RefusalCode::Failed, None),
        };
        Refusal { rule, ..Refusal::new(code, self.to_string()) }
    }
}

fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl From<Refusal> for OperatorError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { error, code, rule, .. } = refusal;
        match code {
            RefusalCode::Usage => Self::Usage(error),
            RefusalCode::Refused => Self::Refused { rule: rule.unwrap_or_default(), message: error },
            RefusalCode::NotFound => Self::NotFound(error),
            RefusalCode::Failed => Self::Failed(anyhow::anyhow!(error)),
        }
    }
}

impl From<crate::kernel::KernelError> for OperatorError {
    fn from(error: crate::kernel::KernelError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<crate::prefix::PrefixError> for OperatorError {
    fn from(error: crate::prefix::PrefixError) -> Self {
        Self::Usage(error.to_string())
    }
}
