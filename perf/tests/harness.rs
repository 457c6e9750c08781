//! The comparison as a whole: the built program with real children, and a stand-in for the gateway.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_turnpike-perf");

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// The one results folder that a run has made.
    fn results(&self) -> Option<PathBuf> {
        let mut folders = fs::read_dir(self.0.join("results"))
            .ok()?
            .flatten()
            .map(|entry| entry.path());
        let folder = folders.next()?;
        assert_eq!(folders.next(), None, "one run makes one folder");
        Some(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A comparison that is ended when a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn compare(folder: &Folder, arguments: &[&str]) -> Running {
    let cpus = fs::read_to_string("/proc/cpuinfo")
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let child = Command::new(BINARY)
        .args([
            "compare",
            "--nice",
            "0",
            "--proxy-cpu",
            if cpus > 1 { "1" } else { "0" },
            "--repeats",
            "1",
        ])
        .args([
            "--scenario",
            &format!("{}/scenarios/pass-through.yml", env!("CARGO_MANIFEST_DIR")),
        ])
        .args(["--results", &folder.0.join("results").display().to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Running(child)
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// A process that has ended but has not been waited for does not count as alive.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Stands in for the gateway with the suite's own hop: takes its port from the variables, its target from the definition that the
/// Cloud Gate was given, and refuses to start without the token that was issued.
fn write_gateway(folder: &Folder) -> PathBuf {
    let script = format!(
        r#"#!/bin/sh
case "$1" in
  --version) echo "turnpike 0.0.0-fake" ;;
  token) [ "$3" = --data ] && [ "$5" = --gateway-url ] && echo "$6" > "$4/url" && printf 'a note\nsecret-token\n' ;;
  cloud-gate)
    [ "$2" = --definitions ] && [ "$6" = --listen ] && [ "$8" = --plain-http ] && [ "$(cat "$5/url")" = "http://$7" ] || exit 3
    exec {BINARY} origin --listen "$7" ;;
  run)
    [ "$gravitee_cloud_token" = secret-token ] && [ "$gravitee_ratelimit_type" = none ] || exit 4
    [ -n "$gravitee_gateway_runtime_cpus" ] && [ -n "$gravitee_services_core_http_port" ] || exit 5
    target=$(sed -n 's|.*"target": "http://\([0-9.:]*\)".*|\1|p' "$GRAVITEE_HOME/definitions/api.json")
    exec {BINARY} hop --listen "127.0.0.1:$gravitee_http_port" --target "$target" ;;
  *) exit 6 ;;
esac
"#
    );
    let path = folder.0.join("gateway.sh");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A whole comparison writes its table, its samples, distributions and pictures, fails no request, leaves neither the scratch
/// folder nor the token behind, and no child.
#[test]
fn a_comparison_writes_its_results_and_cleans_up() {
    let folder = Folder::new("compare");
    let gateway = write_gateway(&folder).display().to_string();
    let arguments = [
        "--peers",
        "hop,turnpike",
        "--gateway",
        &gateway,
        "--duration",
        "0.2",
        "--warm-up",
        "0.05",
    ];
    let mut running = compare(&folder, &arguments);
    let pid = running.0.id();
    let mut children = Vec::new();
    until("the comparison ends", || {
        children.extend(children_of(pid));
        running.0.try_wait().unwrap().is_some()
    });
    let (mut output, mut errors) = (String::new(), String::new());
    running
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert!(running.0.wait().unwrap().success(), "{errors}");
    assert!(
        !children.is_empty() && children.into_iter().all(|child| !is_alive(child)),
        "a child was left"
    );

    let results = folder.results().unwrap();
    let names: Vec<String> = fs::read_dir(&results)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let count = |suffix: &str| names.iter().filter(|name| name.ends_with(suffix)).count();
    assert_eq!((count(".hgrm"), count(".svg")), (6, 3), "{names:?}");
    assert!(!results.join("scratch").exists());
    let table = fs::read_to_string(results.join("table.md")).unwrap();
    assert_eq!(table, output, "standard output carries the table");
    assert!(
        table.contains("| turnpike |")
            && table.contains("turnpike 0.0.0-fake")
            && !table.contains("secret-token")
    );

    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(results.join("results.json")).unwrap()).unwrap();
    let stages = json["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 3, "saturated and two rates");
    for stage in stages {
        for peer in ["hop", "turnpike"] {
            let cell = &stage["rounds"][0][peer];
            assert_eq!(cell["failures"], serde_json::json!({}), "{peer}: {cell}");
            assert!(
                cell["completed"].as_u64().unwrap() > 0 && cell["cpu_us"].as_f64().unwrap() > 0.0,
                "{peer}: {cell}"
            );
        }
    }
}

/// When the harness is killed outright, the kernel ends what it had started.
#[test]
fn children_end_with_a_killed_harness() {
    let folder = Folder::new("killed");
    let mut running = compare(&folder, &["--peers", "hop", "--duration", "30"]);
    let pid = running.0.id();
    until("origin and hop run", || children_of(pid).len() == 2);
    let log = || folder.results().map(|results| results.join("logs/hop.log"));
    until("the hop listens", || {
        log()
            .and_then(|log| fs::read_to_string(log).ok())
            .is_some_and(|text| text.contains("listening"))
    });
    let children = children_of(pid);
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    until("the children end", || {
        !children.iter().copied().any(is_alive)
    });
}

/// A gateway that does not start is an error that quotes its output, and ends everything else.
#[test]
fn a_peer_that_fails_to_start_is_an_error_with_its_log() {
    let folder = Folder::new("failing");
    let gateway = folder.0.join("gateway.sh");
    let script = "#!/bin/sh\n[ \"$1\" = run ] && echo 'no such setting' && exit 9\n[ \"$1\" = cloud-gate ] && exec "
        .to_owned()
        + BINARY
        + " origin --listen \"$7\"\necho fake\n";
    fs::write(&gateway, script).unwrap();
    fs::set_permissions(&gateway, fs::Permissions::from_mode(0o755)).unwrap();
    let mut running = compare(
        &folder,
        &[
            "--peers",
            "turnpike",
            "--gateway",
            &gateway.display().to_string(),
        ],
    );
    until("the comparison gives up", || {
        running.0.try_wait().unwrap().is_some()
    });
    let mut errors = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert!(!running.0.wait().unwrap().success());
    assert!(
        errors.contains("turnpike ended with exit status: 9") && errors.contains("no such setting"),
        "{errors}"
    );
}
