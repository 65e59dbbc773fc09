//! A network that can be cut: forwards TCP connections until it is told not to.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How often a connection without traffic looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);

const OPEN: u8 = 0;
const STALLED: u8 = 1;
const CUT: u8 = 2;

/// What passes; shared by all links of one worker.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<AtomicU8>);

impl Gate {
    /// Everything passes again.
    pub fn open(&self) {
        self.0.store(OPEN, Ordering::SeqCst);
    }

    /// Connections stand and nothing passes, as behind a router that went away.
    pub fn stall(&self) {
        self.0.store(STALLED, Ordering::SeqCst);
    }

    /// Connections break, and new ones are refused.
    pub fn cut(&self) {
        self.0.store(CUT, Ordering::SeqCst);
    }

    fn state(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Forwards what arrives at a free port, which it gives, to `target`.
pub fn forward(target: SocketAddr, gate: Gate) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            if gate.state() == CUT {
                continue;
            }
            let Ok(server) = TcpStream::connect(target) else { continue };
            let (Ok(client_again), Ok(server_again)) = (client.try_clone(), server.try_clone()) else { continue };
            let (up, down) = (gate.clone(), gate.clone());
            std::thread::spawn(move || pump(client, server, &up));
            std::thread::spawn(move || pump(server_again, client_again, &down));
        }
    });
    address
}

fn pump(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let _ = from.set_read_timeout(Some(LOOK));
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => break,
        };
        while gate.state() == STALLED {
            std::thread::sleep(LOOK);
        }
        if gate.state() == CUT || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
