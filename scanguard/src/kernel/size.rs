//! How large the programs of the kernel part are, as the kernel sees them.

use serde::Serialize;

use super::datapath::Datapath;
use super::error::KernelError;

/// A loaded program.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct ProgramSize {
    /// Its name.
    pub name: &'static str,
    /// Instructions, functions included, without those that the verifier found to be out of reach.
    pub instructions: u32,
    /// Instructions that the verifier looked at, on all paths together; it gives up at a million. 0 where the kernel does not tell (before
    /// Linux 5.16).
    pub verified: u32,
    /// Bytes of machine code.
    pub jited_bytes: u32,
}

/// Bytes of an instruction.
const INSTRUCTION: u32 = 8;

impl Datapath {
    /// How large the programs are.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn sizes(&mut self) -> Result<Vec<ProgramSize>, KernelError> {
        let infos = self.infos()?;
        Ok(infos
            .iter()
            .map(|(name, info)| ProgramSize {
                name,
                instructions: info.size_translated().unwrap_or_default() / INSTRUCTION,
                verified: info.verified_instruction_count().unwrap_or_default(),
                jited_bytes: info.size_jitted(),
            })
            .collect())
    }
}
