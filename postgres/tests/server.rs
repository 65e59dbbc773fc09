//! The private server as a program meets it. The queries go through the server's own `psql`.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gauntlet_postgres::testing::TestDatabase;
use gauntlet_postgres::{Options, Postgres, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

const STATE_DIR: &str = "GAUNTLET_POSTGRES_TEST_STATE_DIR";

fn query(postgres: &Postgres, sql: &str) -> Result<String, String> {
    let psql = postgres.bin_dir().join("psql");
    let done = Command::new(psql)
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", sql])
        .arg(postgres.url())
        .output()
        .expect("psql runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what} did not happen in 30 s");
        sleep(Duration::from_millis(10));
    }
}

fn kill_hard(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("the process can be killed");
}

fn processes_in(directory: &Path) -> usize {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == directory)).count()
}

#[test]
fn a_fresh_server_answers_and_is_durable() {
    let state = tempfile::tempdir().expect("a directory");
    let postgres = Postgres::start(&Options::new(state.path())).expect("a server");
    let settings = "select string_agg(current_setting(name), ' ') from unnest(array['fsync', 'synchronous_commit', \
                    'full_page_writes', 'data_checksums', 'listen_addresses']) name";
    assert_eq!(query(&postgres, settings).as_deref(), Ok("on on on on"));
    assert_eq!(query(&postgres, "select current_database(), current_user").as_deref(), Ok("gauntlet|gauntlet"));
}

#[test]
fn the_server_never_runs_as_root() {
    let database = TestDatabase::create().expect("a database");
    let pid = database.postgres().pid().expect("a running server");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the server's status");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()).expect("a uid");
    assert_ne!(uid, "0");
    if !Uid::effective().is_root() {
        assert_eq!(uid, Uid::effective().to_string());
    }
}

#[test]
fn a_state_directory_closed_to_the_servers_user_is_no_obstacle_and_its_data_is_kept() {
    // As root this is the case of a state directory in root's home; otherwise it is an ordinary one.
    let closed = tempfile::tempdir().expect("a directory");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("permissions");
    let options = Options::new(closed.path().join("state"));
    let postgres = Postgres::start(&options).expect("a server");
    query(&postgres, "create table kept as select 7 as number").expect("a table");
    let data = postgres.data_dir().to_path_buf();
    postgres.stop();
    let postgres = Postgres::start(&options).expect("the same server");
    assert_eq!(postgres.data_dir(), data);
    assert_eq!(query(&postgres, "select number from kept").as_deref(), Ok("7"));
    postgres.stop();
    fs::remove_dir_all(closed.path().join("state")).expect("the state directory can be removed");
    let postgres = Postgres::start(&options).expect("a new server");
    let missing = query(&postgres, "select number from kept").expect_err("a new, empty database");
    assert!(missing.contains("does not exist"), "{missing}");
    postgres.stop();
    if !data.starts_with(closed.path()) {
        fs::remove_dir_all(data.parent().expect("a parent")).expect("the place outside can be removed");
    }
}

#[test]
fn a_server_that_is_killed_comes_back_by_itself_with_what_it_acknowledged() {
    let database = TestDatabase::create_durable().expect("a database");
    let postgres = database.postgres();
    query(postgres, "create table kept as select generate_series(1, 1000) as number").expect("a table");
    let first = postgres.pid().expect("a running server");
    kill_hard(first);
    eventually("a restart", || postgres.pid().is_some_and(|pid| pid != first));
    assert_eq!(query(postgres, "select count(*) from kept").as_deref(), Ok("1000"));
    assert_eq!(postgres.restarts(), 1);
}

#[test]
fn a_server_whose_session_is_killed_recovers_without_a_restart() {
    let database = TestDatabase::create().expect("a database");
    let first = database.postgres().pid();
    let killed = query(database.postgres(), "select pg_terminate_backend(pg_backend_pid())");
    assert!(killed.is_err());
    assert_eq!(query(database.postgres(), "select 1").as_deref(), Ok("1"));
    assert_eq!(database.postgres().pid(), first);
}

#[test]
fn a_restart_that_is_asked_for_keeps_the_url_and_the_data() {
    let database = TestDatabase::create().expect("a database");
    let postgres = database.postgres();
    query(postgres, "create table kept as select 7 as number").expect("a table");
    let (first, url) = (postgres.pid(), postgres.url().to_owned());
    postgres.restart().expect("a restart");
    assert_ne!(postgres.pid(), first);
    assert_eq!(postgres.url(), url);
    assert_eq!(query(postgres, "select number from kept").as_deref(), Ok("7"));
    assert!(matches!(postgres.status(), Status::Running { .. }));
}

#[test]
fn a_second_instance_is_refused_and_told_who_holds_the_first() {
    let state = tempfile::tempdir().expect("a directory");
    let _first = Postgres::start(&Options::new(state.path())).expect("a server");
    let refusal = Postgres::start(&Options::new(state.path())).expect_err("a refusal").to_string();
    assert!(refusal.contains(&format!("is in use by the process {}", std::process::id())), "{refusal}");
}

#[test]
fn stopping_leaves_no_process_and_no_socket() {
    let state = tempfile::tempdir().expect("a directory");
    let postgres = Postgres::start(&Options::new(state.path())).expect("a server");
    let data = postgres.data_dir().to_path_buf();
    assert!(processes_in(&data) > 0);
    postgres.stop();
    assert_eq!(processes_in(&data), 0);
    assert!(!data.join("postmaster.pid").exists());
}

#[test]
fn a_path_with_spaces_commas_quotes_and_great_depth_works() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("my state, \"quoted\" and 'odd' ünï").join("deep-".repeat(30));
    let postgres = Postgres::start(&Options::new(&state)).expect("a server");
    assert_eq!(query(&postgres, "select 1").as_deref(), Ok("1"));
}

#[test]
fn when_the_program_is_killed_its_server_ends_and_the_next_start_finds_everything() {
    let state = tempfile::tempdir().expect("a directory");
    let mut program = run_program(state.path());
    kill_hard(program.id());
    program.wait().expect("the program's end");
    // At once: the next start has to wait for the orphan itself.
    let postgres = Postgres::start(&Options::new(state.path())).expect("a server");
    assert_eq!(query(&postgres, "select number from kept").as_deref(), Ok("7"));
    let data = postgres.data_dir().to_path_buf();
    postgres.stop();

    let mut program = run_program(state.path());
    assert!(processes_in(&data) > 0);
    kill_hard(program.id());
    program.wait().expect("the program's end");
    eventually("the end of the orphan", || processes_in(&data) == 0);
}

#[test]
fn stale_lock_files_of_a_pid_that_lives_do_not_prevent_a_start() {
    let state = tempfile::tempdir().expect("a directory");
    let postgres = Postgres::start(&Options::new(state.path())).expect("a server");
    let (data, pid) = (postgres.data_dir().to_path_buf(), std::process::id());
    postgres.stop();
    fs::write(data.join("postmaster.pid"), format!("{pid}\n{}\n1\n5432\n\n\n\nready\n", data.display()))
        .expect("a file");
    let postgres = Postgres::start(&Options::new(state.path())).expect("a server despite the file");
    assert_eq!(query(&postgres, "select 1").as_deref(), Ok("1"));
}

#[test]
fn a_test_database_is_removed_with_its_directory() {
    let database = TestDatabase::create().expect("a database");
    let data = database.postgres().data_dir().to_path_buf();
    assert!(data.is_dir());
    drop(database);
    assert!(!data.exists());
}

/// Runs this test binary again as a program of its own that holds a server, and waits until that answers.
fn run_program(state: &Path) -> Child {
    let mut program = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "program_that_holds_a_server", "--nocapture"])
        .env(STATE_DIR, state)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let output = BufReader::new(program.stdout.take().expect("its output"));
    let ready = output.lines().map_while(Result::ok).any(|line| line.contains("server is ready"));
    assert!(ready, "the program ended without a server");
    program
}

/// Not a test, but what [`run_program`] runs.
#[test]
fn program_that_holds_a_server() {
    let Some(state) = env::var_os(STATE_DIR) else { return };
    let postgres = Postgres::start(&Options::new(state)).expect("a server");
    query(&postgres, "create table if not exists kept as select 7 as number").expect("a table");
    println!("server is ready");
    sleep(Duration::from_secs(60));
}
