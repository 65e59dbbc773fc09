//! One instance per state directory, and a start that does not stumble over what a killed one left behind.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;
use crate::places::{Layout, socket_file};

/// A server whose parent was killed finishes its shutdown in this time, or it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Locks the home for as long as the result lives; the system unlocks it when the process ends, however it ends.
pub(crate) fn lock(home: &Path, state_dir: &Path) -> Result<Flock<File>, Error> {
    let path = home.join("lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((file, Errno::EWOULDBLOCK)) => {
            return Err(Error::InUse { state_dir: state_dir.to_path_buf(), holder: holder(file) });
        }
        Err((_, errno)) => return Err(Error::io("lock", &path)(errno.into())),
    };
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(Error::io("write", &path))?;
    Ok(lock)
}

fn holder(mut file: File) -> String {
    let mut pid = String::new();
    match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("the process {}", pid.trim()),
        _ => "another process".to_owned(),
    }
}

/// Waits until no process of an earlier server is left, then removes the files that say there is one.
///
/// Only for who holds the lock: then whatever still runs on the data is an orphan. Postgres itself would judge by the pid
/// in its lock files, which may be a zombie that nobody reaps, or by now another process.
pub(crate) fn clear(layout: &Layout) -> Result<(), Error> {
    let started = Instant::now();
    while let orphans = processes_on(&layout.data_dir)
        && !orphans.is_empty()
    {
        if started.elapsed() > PATIENCE {
            tracing::warn!(?orphans, "killing the processes of an earlier server, which do not end");
            for pid in orphans {
                // One that ended meanwhile is what was wanted.
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        sleep(Duration::from_millis(10));
    }
    let socket = socket_file(&layout.socket_dir);
    let mut socket_lock = socket.clone().into_os_string();
    socket_lock.push(".lock");
    for stale in [&layout.data_dir.join("postmaster.pid"), &socket, Path::new(&socket_lock)] {
        match fs::remove_file(stale) {
            Ok(()) => tracing::debug!(file = %stale.display(), "removed what an earlier server left"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", stale)(error)),
        }
    }
    Ok(())
}

/// The server's processes, all of which work in the data directory. Zombies work nowhere.
pub(crate) fn processes_on(data_dir: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| is_server_process(*pid, data_dir)).map(Pid::from_raw).collect()
}

fn is_server_process(pid: i32, data_dir: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == data_dir)
        && fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim_end() == "postgres")
}
