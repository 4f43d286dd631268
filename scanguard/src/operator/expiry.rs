//! What ends by itself. The kernel part keeps to every end without being told; this clears up behind it.

use std::time::SystemTime;

use super::desk::Desk;
use super::error::OperatorError;

impl Desk {
    /// Clears up what is over. Returns the blocks that have ended, as people write them.
    ///
    /// # Errors
    /// When the kernel part cannot be written.
    pub fn expire(&mut self, now: SystemTime) -> Result<Vec<String>, OperatorError> {
        self.revert(now)?;
        self.expire_allow(now)?;
        let ended = self.expire_blocks(now)?;
        self.expire_questions(now);
        Ok(ended)
    }
}
