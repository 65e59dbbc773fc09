//! Two coordinators, three workers and Postgres, each a process, and what can be done to them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gauntlet_postgres::testing::TestDatabase;

use super::common::{Running, RunningCoordinator, children, gauntlet, kill, wait_until};
use super::faults::{Fault, Kind};
use super::proxy::{Gate, forward};

const WORKERS: usize = 3;
const COORDINATORS: usize = 2;
/// Until something that must come back does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Room for what a worker keeps, where a file system of its own can be mounted.
const STATE_SIZE: &str = "size=96m";

/// What ends a fault.
#[derive(Debug)]
enum Undo {
    Continue(Vec<u32>),
    StartWorker(usize),
    StartCoordinator(usize),
    OpenGate(usize),
    Remove(PathBuf),
}

pub struct Cluster {
    folder: PathBuf,
    pub database: TestDatabase,
    addresses: Vec<SocketAddr>,
    coordinators: Vec<Option<RunningCoordinator>>,
    workers: Vec<Option<Running>>,
    gates: Vec<Gate>,
    /// As each worker sees the coordinators.
    endpoints: Vec<String>,
    mounted: bool,
    undo: Vec<(Instant, Undo)>,
}

impl Cluster {
    pub fn start(folder: &Path) -> Self {
        let database = TestDatabase::create_durable().unwrap();
        let start = |_| RunningCoordinator::start(folder, &database, "127.0.0.1:0");
        let coordinators: Vec<_> = (0..COORDINATORS).map(start).collect();
        let addresses: Vec<SocketAddr> = coordinators.iter().map(|it| it.address().parse().unwrap()).collect();
        let gates: Vec<Gate> = (0..WORKERS).map(|_| Gate::default()).collect();
        let endpoints = |gate: &Gate| {
            let through = |address: &SocketAddr| format!("http://{}", forward(*address, gate.clone()));
            addresses.iter().map(through).collect::<Vec<_>>().join(",")
        };
        let endpoints = gates.iter().map(endpoints).collect();
        let mounted = (0..WORKERS).all(|number| mount(&folder.join(format!("worker-{number}"))));
        let mut cluster = Self {
            folder: folder.to_owned(),
            database,
            addresses,
            coordinators: coordinators.into_iter().map(Some).collect(),
            workers: Vec::new(),
            gates,
            endpoints,
            mounted,
            undo: Vec::new(),
        };
        cluster.workers = (0..WORKERS).map(|number| Some(cluster.worker(number))).collect();
        cluster
    }

    /// Whether disks can be filled here: it takes the right to mount.
    pub const fn fills_disks(&self) -> bool {
        self.mounted
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addresses[0])
    }

    fn state_dir(&self, worker: usize) -> PathBuf {
        self.folder.join(format!("worker-{worker}"))
    }

    fn worker(&self, number: usize) -> Running {
        let mut command = gauntlet(&self.state_dir(number));
        command.args(["--log", "info", "--endpoint", &self.endpoints[number], "worker"]);
        command.args(["--worker-id", &format!("worker-{number}"), "--artifacts"]);
        // A checkpoint after every epoch: trainings of seconds are interrupted in the middle.
        command.arg(self.folder.join("artifacts")).env("GAUNTLET_CHECKPOINT_INTERVAL_SECS", "0");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("workers.log")).unwrap();
        Running::start(command.stdout(Stdio::null()).stderr(log))
    }

    /// A number from the database; none while it is away.
    pub fn ask(&self, query: &str) -> Option<u64> {
        self.database.postgres().pid()?;
        let program = self.database.postgres().bin_dir().join("psql");
        let mut command = Command::new(program);
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-t", "-A", "-c", query, self.database.url()]);
        let output = command.env("PGCONNECT_TIMEOUT", "5").stderr(Stdio::null()).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok()).flatten()
    }

    /// Strikes. False where there is nothing to hit at this moment.
    pub fn strike(&mut self, fault: Fault) -> bool {
        let Fault { kind, victim, lasts } = fault;
        let (worker, coordinator) = (victim % WORKERS, victim % COORDINATORS);
        let undo = match kind {
            Kind::KillExecutor => {
                let executors = self.executors(worker);
                executors.iter().for_each(|pid| kill(*pid));
                return !executors.is_empty();
            }
            Kind::StopExecutor => self.stop(self.executors(worker)),
            Kind::KillWorker => self.workers[worker].take().map(|mut it| {
                it.kill();
                Undo::StartWorker(worker)
            }),
            Kind::StopWorker => self.stop(self.workers[worker].iter().map(Running::pid).collect()),
            Kind::KillCoordinator => self.coordinators[coordinator].take().map(|mut it| {
                it.process.kill();
                Undo::StartCoordinator(coordinator)
            }),
            Kind::StopCoordinator => {
                self.stop(self.coordinators[coordinator].iter().map(|it| it.process.pid()).collect())
            }
            Kind::KillPostgres => return self.kill_postgres(),
            Kind::StopPostgres => {
                let server = self.database.postgres().pid();
                self.stop(server.into_iter().flat_map(|pid| [vec![pid], children(pid, "postgres")].concat()).collect())
            }
            Kind::CutLink => {
                self.gates[worker].cut();
                Some(Undo::OpenGate(worker))
            }
            Kind::StallLink => {
                self.gates[worker].stall();
                Some(Undo::OpenGate(worker))
            }
            Kind::FillSpool => self.mounted.then(|| fill(&self.state_dir(worker))).map(Undo::Remove),
            Kind::ClockAhead => return self.move_clock(true),
            Kind::ClockBack => return self.move_clock(false),
        };
        let struck = undo.is_some();
        self.undo.extend(undo.map(|undo| (Instant::now() + lasts, undo)));
        struck
    }

    fn executors(&self, worker: usize) -> Vec<u32> {
        let agent = self.workers[worker].as_ref().map(Running::pid);
        agent.into_iter().flat_map(|pid| children(pid, "gauntlet-executor")).collect()
    }

    fn stop(&self, processes: Vec<u32>) -> Option<Undo> {
        processes.iter().for_each(|pid| signal("-STOP", *pid));
        (!processes.is_empty()).then_some(Undo::Continue(processes))
    }

    fn kill_postgres(&self) -> bool {
        let Some(pid) = self.database.postgres().pid() else { return false };
        kill(pid);
        true
    }

    /// A clock that went back makes leases long; that it would make waits long too is left out, because it would only make the storm long.
    fn move_clock(&self, ahead: bool) -> bool {
        let query = if ahead {
            "with leases as (update workers set lease_expires_at = lease_expires_at - interval '1 hour' returning 1),
                waits as (update tasks set not_before = not_before - interval '1 hour' where state = 'ready' returning 1)
            select count(*) from leases"
        } else {
            "with leases as (update workers set lease_expires_at = lease_expires_at + interval '1 hour' returning 1)
            select count(*) from leases"
        };
        self.ask(query).is_some()
    }

    /// Ends what is over; with `all`, everything.
    pub fn recover(&mut self, all: bool) {
        let now = Instant::now();
        let (over, later) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| all || *at <= now);
        self.undo = later;
        for (_, undo) in over {
            match undo {
                Undo::Continue(processes) => processes.iter().for_each(|pid| signal("-CONT", *pid)),
                Undo::StartWorker(number) => self.workers[number] = Some(self.worker(number)),
                Undo::StartCoordinator(number) => self.start_coordinator(number),
                Undo::OpenGate(worker) => self.gates[worker].open(),
                Undo::Remove(file) => drop(fs::remove_file(file)),
            }
        }
        for number in 0..WORKERS {
            // An agent that gave up for good, such as for a full disk at its start, is started again as a supervisor would.
            if let Some(running) = &mut self.workers[number]
                && running.child.try_wait().unwrap().is_some()
            {
                self.workers[number] = Some(self.worker(number));
            }
        }
    }

    fn start_coordinator(&mut self, number: usize) {
        // It waits for a database that is away; one that is stopped must not be waited for here.
        if self.ask("select 1").is_none() {
            self.undo.push((Instant::now() + Duration::from_millis(500), Undo::StartCoordinator(number)));
            return;
        }
        let address = self.addresses[number].to_string();
        self.coordinators[number] = Some(RunningCoordinator::start(&self.folder, &self.database, &address));
    }

    /// Ends everything in good order, and says what is left over.
    pub fn leave(mut self) -> Left {
        self.recover(true);
        for running in self.workers.iter().flatten() {
            signal("-TERM", running.pid());
        }
        for running in self.workers.iter_mut().flatten() {
            wait_until("a worker leaves", PATIENCE, || running.child.try_wait().unwrap().is_some());
        }
        let mut left = leftovers(&(0..WORKERS).map(|number| self.state_dir(number).join("worker")).collect::<Vec<_>>());
        for coordinator in self.coordinators.iter().flatten() {
            signal("-TERM", coordinator.process.pid());
        }
        for coordinator in self.coordinators.iter_mut().flatten() {
            wait_until("a coordinator ends", PATIENCE, || coordinator.process.child.try_wait().unwrap().is_some());
        }
        left.extend(processes_that_name(&self.folder));
        let half_written =
            files(&self.folder.join("artifacts")).iter().filter(|path| path.to_string_lossy().contains('#')).count();
        Left { left, half_written }
    }
}

/// What is left over at the end.
pub struct Left {
    /// Processes, and files of workers.
    pub left: Vec<String>,
    /// Uploads in the artifact store that nobody finished: a worker that is killed in the middle of one cannot remove it.
    pub half_written: usize,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What is stopped could not be ended in good order.
        for (_, undo) in std::mem::take(&mut self.undo) {
            if let Undo::Continue(processes) = undo {
                processes.iter().for_each(|pid| signal("-CONT", *pid));
            }
        }
        self.workers.clear();
        if self.mounted {
            (0..WORKERS).for_each(|number| drop(Command::new("umount").arg(self.state_dir(number)).status()));
        }
    }
}

/// Reports and folders of attempts of workers that have left.
fn leftovers(worker_folders: &[PathBuf]) -> Vec<String> {
    let of = |folder: &PathBuf| [files(&folder.join("spool")), files(&folder.join("attempts"))].concat();
    worker_folders.iter().flat_map(of).map(|path| format!("the file {}", path.display())).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let inside = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.map_while(Result::ok).flat_map(|entry| inside(entry.path())).collect()
}

fn processes_that_name(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let names = |entry: fs::DirEntry| {
        entry.file_name().to_str()?.parse::<u32>().ok().filter(|pid| *pid != std::process::id())?;
        let command = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        command.contains(&folder).then(|| format!("the process {command}"))
    };
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter_map(names).collect()
}

/// A file system of its own that can be filled; false without the right to mount.
fn mount(folder: &Path) -> bool {
    fs::create_dir_all(folder).unwrap();
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", STATE_SIZE, "gauntlet-storm"]).arg(folder);
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Takes all room there is.
fn fill(folder: &Path) -> PathBuf {
    use std::io::Write as _;
    let path = folder.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    let block = vec![0; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    path
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}
