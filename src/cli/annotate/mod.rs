//! `portbook annotate`: adds service names to the ports in the lines of stdin.
//!
//! Lines are processed in blocks. A block contains all lines that are available: many with a fast
//! input, one with a slow input. Blocks are sent while the responses of previous blocks are pending.

mod line;

use std::io::{self, BufRead, Write};
use std::thread;

use clap::Args;
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::try_join;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::args::{NamespaceArgs, ReadArgs};
use super::output::clean;
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::fields::MAX_BATCH;
use crate::grpc::{convert, proto};
use crate::registry::port::{Port, Transport};
use line::{Key, Mark, key, marks};

/// The maximum number of queued lines, and of lines in a block.
const MAX_LINES: usize = 4096;
/// The maximum number of blocks in flight.
const MAX_BLOCKS: usize = 4;

/// The arguments of `portbook annotate`.
#[derive(Args, Debug)]
pub(super) struct AnnotateArgs {
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    read: ReadArgs,
}

/// Lines whose ports are looked up together.
#[derive(Debug, Default)]
struct Block {
    lines: Vec<Line>,
    ports: Vec<u32>,
    transports: Vec<i32>,
}

#[derive(Debug)]
struct Line {
    /// The line as it was read, with its line ending.
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The line consists of a port, which is in the block if it is valid.
    Key { has_port: bool },
    /// The line contains ports of the block; the names are inserted at these offsets.
    Log { ends: Vec<usize> },
}

impl AnnotateArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let session = Session::open(&self.read).await?;
        let lines = stdin_lines();
        let (requests, requested) = mpsc::channel(MAX_BLOCKS);
        let (blocks, to_write) = mpsc::channel(MAX_BLOCKS);
        let mut registry = session.registry();
        let responses = registry
            .annotate_ports(ReceiverStream::new(requested))
            .map(|result| session.map_status(result));
        let write = async {
            let labels = Labels::new(&session, responses.await?.into_inner());
            write_blocks(to_write, labels).await
        };
        try_join!(read_blocks(lines, &self.namespace.namespace, requests, blocks), write)?;
        Ok(ExitStatus::Success)
    }
}

/// Reads the lines of stdin in a detached thread, because a blocking read cannot be interrupted.
fn stdin_lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, lines) = mpsc::channel(MAX_LINES);
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = stdin.read_until(b'\n', &mut line);
            let is_last = !matches!(read, Ok(1..));
            let sent = match read {
                Ok(0) => Ok(()),
                read => sender.blocking_send(read.map(|_| line)),
            };
            if is_last || sent.is_err() {
                return;
            }
        }
    });
    lines
}

/// Reads lines until the end of the input, sends their ports, and queues the blocks in order.
async fn read_blocks(
    mut lines: mpsc::Receiver<io::Result<Vec<u8>>>,
    namespace: &str,
    requests: mpsc::Sender<proto::AnnotatePortsRequest>,
    blocks: mpsc::Sender<Block>,
) -> Result<(), Error> {
    let mut received = Vec::with_capacity(MAX_LINES);
    while lines.recv_many(&mut received, MAX_LINES).await > 0 {
        let mut block = Block::default();
        for line in received.drain(..) {
            block.push(line.map_err(Error::Input)?);
        }
        let block_requests = block.requests(namespace);
        // Send the block first: a server may wait until its responses are read.
        let mut is_open = blocks.send(block).await.is_ok();
        for request in block_requests {
            is_open = is_open && requests.send(request).await.is_ok();
        }
        if !is_open {
            // The reader of the responses reports the error.
            return Ok(());
        }
    }
    Ok(())
}

async fn write_blocks(
    mut blocks: mpsc::Receiver<Block>,
    mut labels: Labels<'_>,
) -> Result<(), Error> {
    let mut text = Vec::new();
    while let Some(block) = blocks.recv().await {
        let names = labels.next(block.ports.len()).await?;
        block.write(&names, &mut text);
        let mut stdout = io::stdout().lock();
        stdout.write_all(&text).and_then(|()| stdout.flush()).map_err(Error::Output)?;
        text.clear();
    }
    Ok(())
}

impl Block {
    fn push(&mut self, bytes: Vec<u8>) {
        let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let kind = if let Some(Key { port }) = key(body) {
            if let Some((port, transport)) = port {
                self.push_port(port, transport);
            }
            Kind::Key { has_port: port.is_some() }
        } else {
            let mut found = Vec::new();
            marks(body, &mut found);
            for &Mark { port, transport, .. } in &found {
                self.push_port(port, transport);
            }
            Kind::Log { ends: found.iter().map(|mark| mark.end).collect() }
        };
        self.lines.push(Line { bytes, kind });
    }

    fn push_port(&mut self, port: Port, transport: Option<Transport>) {
        self.ports.push(port.number().into());
        self.transports.push(convert::transport(transport).into());
    }

    /// The requests for its ports, at most `MAX_BATCH` ports in each.
    fn requests(&self, namespace: &str) -> Vec<proto::AnnotatePortsRequest> {
        let chunks = self.ports.chunks(MAX_BATCH).zip(self.transports.chunks(MAX_BATCH));
        let request = |(ports, transports): (&[u32], &[i32])| proto::AnnotatePortsRequest {
            ports: ports.to_vec(),
            transports: transports.to_vec(),
            namespace: namespace.to_owned(),
        };
        chunks.map(request).collect()
    }

    /// Writes the lines with the names, one for each port of the block.
    fn write(&self, names: &[&str], text: &mut Vec<u8>) {
        let mut names = names.iter();
        for Line { bytes, kind } in &self.lines {
            match kind {
                Kind::Key { has_port } => {
                    let name = has_port.then(|| names.next()).flatten().copied().unwrap_or("");
                    text.extend_from_slice(if name.is_empty() { "-" } else { name }.as_bytes());
                    text.push(b'\n');
                }
                Kind::Log { ends } => {
                    let mut from = 0;
                    for (&end, name) in ends.iter().zip(names.by_ref()) {
                        text.extend_from_slice(&bytes[from..end]);
                        if !name.is_empty() {
                            text.push(b'(');
                            text.extend_from_slice(name.as_bytes());
                            text.push(b')');
                        }
                        from = end;
                    }
                    text.extend_from_slice(&bytes[from..]);
                }
            }
        }
    }
}

/// The labels that the server has sent in a stream.
struct Labels<'a> {
    session: &'a Session,
    responses: Streaming<proto::AnnotatePortsResponse>,
    names: Vec<String>,
}

impl<'a> Labels<'a> {
    const fn new(session: &'a Session, responses: Streaming<proto::AnnotatePortsResponse>) -> Self {
        Self { session, responses, names: Vec::new() }
    }

    /// The names of the next ports; empty for ports without a name.
    async fn next(&mut self, count: usize) -> Result<Vec<&str>, Error> {
        let mut numbers: Vec<u32> = Vec::with_capacity(count);
        while numbers.len() < count {
            let response = self.session.map_status(self.responses.message().await)?;
            let response = response.ok_or(Error::IncompleteResponse)?;
            self.names.extend(response.new_labels.iter().map(|label| clean(&label.service_name)));
            numbers.extend(response.label_numbers);
        }
        let name = |number: u32| self.names.get(number as usize).map_or("", String::as_str);
        Ok(numbers.into_iter().map(name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_inserted_after_their_ports() {
        let mut block = Block::default();
        for line in [
            &b"443\r\n"[..],
            b"70000\n",
            b"\xff 10.0.0.1:53/udp \x1b[0m 10.0.0.1:9\r\n",
            b"\n",
            b"40000/tcp\n",
            b"dpt=22",
        ] {
            block.push(line.to_vec());
        }
        assert_eq!(block.ports, [443, 53, 9, 40000, 22]);
        assert_eq!(block.transports, [0, 2, 0, 1, 0]);
        let mut text = Vec::new();
        block.write(&["https", "domain", "", "", "ssh"], &mut text);
        let expected =
            b"https\n-\n\xff 10.0.0.1:53/udp(domain) \x1b[0m 10.0.0.1:9\r\n\n-\ndpt=22(ssh)";
        assert_eq!(text, expected);
    }
}
