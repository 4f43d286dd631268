//! A server of datagrams somewhere in the world: it answers like a name server, at once or late.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::net::{RecvFlags, Shutdown, recvfrom, shutdown};

use super::netns::Netns;
use super::wait::wait_until;

/// Set in the third byte of every answer, as in the header of a DNS message (RFC 1035 section 4.1.1).
const IS_ANSWER: u8 = 0x80;
/// The name in questions that are answered late, as DNS writes it.
const LATE: &[u8] = b"\x04late\0";
const LIMIT: Duration = Duration::from_secs(5);

/// Questions that wait for a late answer, and who asked them.
type Late = Mutex<Vec<(Vec<u8>, SocketAddr)>>;

/// A question, for the address of a name, with this number.
pub(super) fn question(number: u16, late: bool) -> Vec<u8> {
    let mut question = number.to_be_bytes().to_vec();
    // Recursion desired; one question.
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    question.extend(if late { LATE } else { b"\x04soon\0" });
    // An address (A), of the Internet.
    question.extend([0, 1, 0, 1]);
    question
}

/// Asks through a socket and waits for the answer, from whomever.
pub(super) fn ask(
    socket: &UdpSocket,
    question: &[u8],
    send: impl FnOnce(&[u8]) -> std::io::Result<usize>,
) -> Result<()> {
    socket.set_read_timeout(Some(LIMIT))?;
    send(question).context("cannot send a question")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).context("no answer to a datagram")?;
    ensure!(answer[..length] == answer_to(question), "an answer to something else");
    Ok(())
}

fn answer_to(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    if let Some(flags) = answer.get_mut(2) {
        *flags |= IS_ANSWER;
    }
    answer
}

/// The server, on one address and port. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Responder {
    address: SocketAddr,
    socket: Arc<UdpSocket>,
    late: Arc<Late>,
    worker: Option<JoinHandle<()>>,
}

impl Responder {
    /// Starts it inside `host`.
    pub(super) fn start(host: &Netns, address: SocketAddr) -> Result<Self> {
        let socket = host.run(|| UdpSocket::bind(address))?;
        let socket = Arc::new(socket.with_context(|| format!("cannot listen for datagrams on {address}"))?);
        let late = Arc::<Late>::default();
        let worker = thread::spawn({
            let (socket, late) = (Arc::clone(&socket), Arc::clone(&late));
            move || answer(&socket, &late)
        });
        Ok(Self { address, socket, late, worker: Some(worker) })
    }

    /// Where it is asked.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what waits for a late answer, once `count` questions do.
    pub(super) fn answer_late(&self, count: usize) -> Result<()> {
        let late = || self.late.lock().unwrap_or_else(PoisonError::into_inner);
        wait_until("questions that are answered late", LIMIT, || Ok(late().len() >= count))?;
        for (question, from) in late().drain(..) {
            self.socket.send_to(&answer_to(&question), from).with_context(|| format!("cannot answer {from}"))?;
        }
        Ok(())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // Wakes the worker, with a message of nobody; "not connected" is what the kernel says besides.
        let _ = shutdown(&*self.socket, Shutdown::Both);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn answer(socket: &UdpSocket, late: &Late) {
    let mut buffer = [0; 512];
    // (std's own recv_from takes a message without a sender, as at the end, for a bug.)
    while let Ok((length, _, Some(from))) = recvfrom(socket, &mut buffer[..], RecvFlags::empty()) {
        let (question, Ok(from)) = (&buffer[..length], SocketAddr::try_from(from)) else { continue };
        if question.windows(LATE.len()).any(|window| window == LATE) {
            late.lock().unwrap_or_else(PoisonError::into_inner).push((question.to_vec(), from));
        } else {
            // Who cannot be answered asks again, or does not.
            let _ = socket.send_to(&answer_to(question), from);
        }
    }
}
