//! Another filter to be measured beside the datapath: xdp-filter of the xdp-tools, as distributions package it.
//!
//! Its object is loaded as it is, with one difference: its tables take as many entries as are wanted, where the program takes 10,000.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use aya::maps::{PerCpuHashMap, PerCpuValues};
use aya::programs::{ProgramFd, Xdp, XdpMode};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};

use super::error::KernelError;
use super::maps::map_error;

/// The program that passes what its tables do not name, with all its features, and where Debian's package `xdp-tools` has it.
const PROGRAM: &str = "xdpfilt_alw_all";
const FOLDERS: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu/bpf", "/usr/lib/aarch64-linux-gnu/bpf", "/usr/lib64/bpf", "/usr/lib/bpf"];
const ADDRESSES: &str = "filter_ipv4";
/// `MAP_FLAG_SRC` of xdp-filter's `common_kern_user.h`: the address counts as a source. What `xdp-filter ip -m src` writes.
const AS_SOURCE: u64 = 1;

/// xdp-filter, loaded. Dropping it detaches it.
pub struct Filter {
    object: Ebpf,
}

impl Filter {
    /// Loads it, with tables for `entries`, which it wants pinned in the folder `pins` of a BPF file system. None when it is not installed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(entries: u32, pins: &Path) -> Result<Option<Self>, KernelError> {
        let Some(path) =
            FOLDERS.iter().map(|folder| Path::new(folder).join(format!("{PROGRAM}.o"))).find(|path| path.is_file())
        else {
            return Ok(None);
        };
        let bytes =
            fs::read(&path).map_err(|source| KernelError::Io { what: "read the object of xdp-filter", source })?;
        let mut loader = EbpfLoader::new();
        for map in [ADDRESSES, "filter_ipv6", "filter_ethernet"] {
            loader.map_max_entries(map, entries);
        }
        let mut object = loader.default_map_pin_directory(pins).load(&bytes)?;
        program(&mut object)?.load().map_err(program_error)?;
        Ok(Some(Self { object }))
    }

    /// Has it drop what comes from these addresses.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn drop_sources(&mut self, sources: impl IntoIterator<Item = Ipv4Addr>) -> Result<(), KernelError> {
        let map = self.object.map_mut(ADDRESSES).ok_or(KernelError::NoSuchPart(ADDRESSES))?;
        let mut map = PerCpuHashMap::<_, [u8; 4], u64>::try_from(map).map_err(map_error(ADDRESSES))?;
        let cpus = |source| KernelError::Io { what: "tell how many CPUs there are", source };
        let count = nr_cpus().map_err(|(_, source)| cpus(source))?;
        for source in sources {
            let values = PerCpuValues::try_from(vec![AS_SOURCE; count]).map_err(cpus)?;
            map.insert(source.octets(), values, 0).map_err(map_error(ADDRESSES))?;
        }
        Ok(())
    }

    /// Attaches it to an interface in the driver.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(&mut self, interface: &str) -> Result<(), KernelError> {
        program(&mut self.object)?.attach(interface, XdpMode::Driver).map(|_link| ()).map_err(program_error)
    }

    pub(super) fn fd(&self) -> Result<&ProgramFd, KernelError> {
        let program = self.object.program(PROGRAM).ok_or(KernelError::NoSuchPart(PROGRAM))?;
        let program: &Xdp = program.try_into().map_err(program_error)?;
        program.fd().map_err(program_error)
    }
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp, KernelError> {
    object.program_mut(PROGRAM).ok_or(KernelError::NoSuchPart(PROGRAM))?.try_into().map_err(program_error)
}

fn program_error(source: aya::programs::ProgramError) -> KernelError {
    KernelError::Program { program: PROGRAM, source }
}
