//! A way to a cluster's API server that can be held up, as a server that pauses holds up all that goes through it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Kubectl;

/// Between two looks whether it is held up still.
const HOLD_POLL: Duration = Duration::from_millis(20);

/// A relay on this machine.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    name: String,
    held: Arc<AtomicBool>,
}

// === impl Relay ===

impl Relay {
    /// Opens a relay to the API server of a kubeconfig.
    pub fn open(kubectl: &Kubectl) -> Result<Self> {
        let server =
            kubectl.run(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
        let address = server.trim().trim_start_matches("https://").trim_end_matches('/').to_owned();
        let (name, _) = address.rsplit_once(':').context("the API server's port")?;
        let name = name.trim_matches(['[', ']']).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
        let port = listener.local_addr()?.port();
        let held = Arc::new(AtomicBool::new(false));
        let holding = Arc::clone(&held);
        spawn(move || {
            for near in listener.incoming().flatten() {
                // Who cannot be reached is refused.
                let Ok(far) = TcpStream::connect(&address) else { continue };
                drop(pass(&near, &far, &holding).and_then(|()| pass(&far, &near, &holding)));
            }
        });
        Ok(Self { port, name, held })
    }

    /// The flags that lead the plugin over it.
    #[must_use]
    pub fn flags(&self) -> [String; 4] {
        let server = format!("https://127.0.0.1:{}", self.port);
        ["--server".to_owned(), server, "--tls-server-name".to_owned(), self.name.clone()]
    }

    /// Holds up what goes either direction for a time; connections stay open.
    pub fn pause(&self, time: Duration) {
        self.held.store(true, Ordering::Relaxed);
        sleep(time);
        self.held.store(false, Ordering::Relaxed);
    }
}

/// Passes one direction on until it ends.
fn pass(from: &TcpStream, to: &TcpStream, held: &Arc<AtomicBool>) -> std::io::Result<()> {
    let (mut from, mut to, held) = (from.try_clone()?, to.try_clone()?, Arc::clone(held));
    spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            while held.load(Ordering::Relaxed) {
                sleep(HOLD_POLL);
            }
            if buffer.get(..len).is_none_or(|bytes| to.write_all(bytes).is_err()) {
                break;
            }
        }
        // The other direction ends with it.
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    });
    Ok(())
}
