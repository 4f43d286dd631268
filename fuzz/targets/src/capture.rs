//! A capture: reading ends, and gives no more than is there.

use std::io::Cursor;
use std::ops::ControlFlow;

use scanguard::replay::capture::read;

/// Reads a capture, of which every frame must fit into the file.
///
/// # Panics
/// When it gives what is not there.
pub fn run(data: &[u8]) {
    // Links without an Ethernet header get one.
    const ADDED: usize = 14;
    let (mut given, mut bytes, mut last) = (0, 0, 0);
    let ending = read(Box::new(Cursor::new(data.to_vec())), |captured| {
        assert!(captured.number > last, "frame {} after {last}", captured.number);
        last = captured.number;
        given += 1;
        bytes += captured.frame.len();
        ControlFlow::Continue(())
    });
    assert_eq!(ending.frames, given + ending.foreign, "{ending:?}");
    assert!(bytes <= data.len() + ADDED * given as usize, "{bytes} bytes of frames from {} bytes", data.len());
}
