//! A TCP proxy that misbehaves on request: what lies between two parts of a real installation.
//!
//! One thread accepts, two pump each connection. A changed fault acts on open connections at once, since a network fails
//! under them and not between them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use socket2::SockRef;

use crate::process::wait_until;

/// How often a pump that has nothing to read looks for a changed fault.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bytes pass.
    None,
    /// Bytes pass later.
    Delay(Duration),
    /// Connections are closed, new ones refused by closing them: failing fast.
    Cut,
    /// Connections end by a reset, new ones too: what was on its way is thrown away, as when a machine or a firewall forgets
    /// them.
    Reset,
    /// Connections stay open and nothing passes: failing without a word.
    BlackHole,
    /// Bytes towards the server pass, answers do not: the work is done and nobody learns of it.
    LostAnswers,
}

struct Shared {
    fault: Mutex<Fault>,
    closed: AtomicBool,
    /// Directions of connections that are copied.
    pumps: AtomicUsize,
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy on a free port.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Stands in front of a port of this machine.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(target_port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::None),
            closed: AtomicBool::new(false),
            pumps: AtomicUsize::new(0),
        });
        let theirs = shared.clone();
        thread::spawn(move || accept(&listener, target_port, &theirs));
        Ok(Self { address, shared })
    }

    /// Port to connect to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Closes every connection, and lets new ones pass when all of them are closed.
    ///
    /// # Errors
    /// When one does not end in time.
    pub fn cut_all(&self) -> Result<()> {
        self.end_all(Fault::Cut)
    }

    /// The same by a reset.
    ///
    /// # Errors
    /// When one does not end in time.
    pub fn reset_all(&self) -> Result<()> {
        self.end_all(Fault::Reset)
    }

    fn end_all(&self, fault: Fault) -> Result<()> {
        self.set(fault);
        wait_until("every connection has ended", || self.shared.pumps.load(Ordering::SeqCst) == 0)?;
        self.set(Fault::None);
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.set(Fault::Cut);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, target_port: u16, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        match shared.fault() {
            Fault::Cut => continue,
            Fault::Reset => {
                reset_when_closed(&client);
                continue;
            }
            Fault::None | Fault::Delay(_) | Fault::BlackHole | Fault::LostAnswers => {}
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target_port)) else { continue };
        let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { continue };
        let (ours, theirs) = (shared.clone(), shared.clone());
        shared.pumps.fetch_add(2, Ordering::SeqCst);
        thread::spawn(move || pump(from_client, server, &ours, false));
        thread::spawn(move || pump(from_server, client, &theirs, true));
    }
}

/// Copies one direction until it ends or is cut.
fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared, is_answer: bool) {
    let mut buffer = [0; 16 * 1024];
    let _ = from.set_read_timeout(Some(LOOK_EVERY));
    let _ = from.set_nodelay(true);
    let _ = to.set_nodelay(true);
    loop {
        if !wait_while_held(shared, is_answer) {
            break;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                // The fault may have come while it waited for these bytes.
                if !wait_while_held(shared, is_answer) {
                    break;
                }
                if let Fault::Delay(time) = shared.fault() {
                    thread::sleep(time);
                }
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(error) if is_timeout(&error) => {}
            Err(_) => break,
        }
    }
    if shared.fault() == Fault::Reset {
        // Without a shutdown, which would say goodbye in order; the other direction ends alike.
        reset_when_closed(&from);
        reset_when_closed(&to);
    } else {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
    drop((from, to));
    shared.pumps.fetch_sub(1, Ordering::SeqCst);
}

/// Holds bytes back for as long as the fault does; `false` when the connection is cut.
fn wait_while_held(shared: &Shared, is_answer: bool) -> bool {
    loop {
        match shared.fault() {
            Fault::Cut | Fault::Reset => return false,
            Fault::BlackHole => thread::sleep(LOOK_EVERY),
            Fault::LostAnswers if is_answer => thread::sleep(LOOK_EVERY),
            Fault::None | Fault::Delay(_) | Fault::LostAnswers => return true,
        }
    }
}

/// Has a connection end by a reset when the last handle to it is closed.
fn reset_when_closed(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        let _ = stream.write_all(&buffer[..n]);
                    }
                });
            }
        });
        port
    }

    fn say(stream: &mut TcpStream) -> std::io::Result<usize> {
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(b"hello")?;
        stream.read(&mut [0; 16])
    }

    #[test]
    fn every_fault_acts_on_open_connections() {
        let proxy = Proxy::start(echo()).unwrap();
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        let mut open = connect();
        assert_eq!(say(&mut open).unwrap(), 5);
        proxy.set(Fault::BlackHole);
        assert!(is_timeout(&say(&mut open).unwrap_err()));
        proxy.set(Fault::None);
        assert!(say(&mut open).unwrap() >= 5);
        proxy.cut_all().unwrap();
        assert!(!matches!(say(&mut open), Ok(1..)));
        proxy.set(Fault::Cut);
        assert!(!matches!(say(&mut connect()), Ok(1..)));
        proxy.set(Fault::None);
        let mut open = connect();
        assert_eq!(say(&mut open).unwrap(), 5);
        proxy.reset_all().unwrap();
        let reset = open.read(&mut [0; 16]).unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset, "no orderly end");
        proxy.set(Fault::Reset);
        assert!(say(&mut connect()).is_err());
        proxy.set(Fault::LostAnswers);
        assert!(is_timeout(&say(&mut connect()).unwrap_err()));
        proxy.set(Fault::Delay(Duration::from_millis(20)));
        assert_eq!(say(&mut connect()).unwrap(), 5);
    }
}
