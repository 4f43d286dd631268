//! Why an operator does not get what he asked for.

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
