//! Why an operator does not get what he asked for.

use crate::api::{Refusal, RefusalCode};

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
    /// It failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl OperatorError {
    /// As the control socket tells it.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let (code, rule) = match self {
            Self::Usage(_) => (RefusalCode::Usage, None),
            Self::Refused { rule, .. } => (RefusalCode::Refused, Some(rule.clone())),
            Self::NotFound(_) => (RefusalCode::NotFound, None),
            Self::Failed(_) => (RefusalCode::Failed, None),
        };
        Refusal { rule, ..Refusal::new(code, self.to_string()) }
    }
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
