//! The state behind the endpoints: what is served, what came in, and the scan that keeps the first in line with the folder.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::GateError;
use super::ledger::{Change, Ledger, Place};
use super::reports::Reports;
use super::source::Refusal;
use super::source::consumers::{self, Consumers};
use super::source::folder::{Folder, Subscriptions};
use super::store::Store;

/// One Cloud Gate.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) place: Place,
    ledger: ArcSwap<Ledger>,
    ledger_path: PathBuf,
    watch: Mutex<Watch>,
    refused: Mutex<BTreeSet<Refusal>>,
    pub(crate) store: Mutex<Store>,
    pub(crate) reports: Mutex<Reports>,
}

/// What the scan needs between two looks.
#[derive(Debug)]
struct Watch {
    folder: Folder,
    /// A change that could not be kept on disk, and is therefore not served yet.
    unsaved: bool,
}

impl Gate {
    /// Loads what is in the data folder.
    pub(crate) fn open(
        definitions: PathBuf,
        data: &std::path::Path,
        place: Place,
    ) -> Result<Self, GateError> {
        let ledger_path = data.join("state.json");
        let ledger = Ledger::load(&ledger_path)
            .map_err(|error| GateError::State {
                path: ledger_path.clone(),
                reason: error.to_string(),
            })?
            .unwrap_or_else(|| Ledger::new(millis(SystemTime::now())));
        let reports_path = data.join("reports");
        let reports = Reports::open(&reports_path).map_err(|source| GateError::Data {
            path: reports_path,
            source,
        })?;
        Ok(Self {
            place,
            ledger: ArcSwap::from_pointee(ledger),
            ledger_path,
            watch: Mutex::new(Watch {
                folder: Folder::new(definitions),
                unsaved: false,
            }),
            refused: Mutex::new(BTreeSet::new()),
            store: Mutex::new(Store::new()),
            reports: Mutex::new(reports),
        })
    }

    /// What is deployed and subscribed.
    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        self.ledger.load_full()
    }

    /// What is not served, and why.
    pub(crate) fn refused(&self) -> Vec<Refusal> {
        lock(&self.refused).iter().cloned().collect()
    }

    /// Looks at the folder and serves what changed. It reads and writes files: not for a thread that must not wait.
    pub(crate) fn scan(&self, now: SystemTime) -> Vec<Change> {
        let mut watch = lock(&self.watch);
        match watch.folder.scan(now) {
            Ok(changed)
                if !changed && !watch.unsaved && !self.folder_was_unreadable(&watch.folder) =>
            {
                return Vec::new();
            }
            Ok(_) => {}
            Err(error) => {
                // Not the same as an empty folder: a volume that is away must not undeploy everything.
                let place = watch.folder.path().display().to_string();
                let reason = format!("the folder cannot be read, what was served stays: {error}");
                self.report(BTreeSet::from([Refusal {
                    file: place,
                    line: None,
                    column: None,
                    reason,
                }]));
                return Vec::new();
            }
        }
        let mut ledger = Ledger::clone(&self.ledger.load());
        let (changes, refused) =
            bring_in_line(&mut ledger, &watch.folder, &self.place, millis(now));
        self.report(refused);
        if !changes.is_empty() {
            // First on disk, then served: a deployment number that a gateway has seen must never be given out again.
            if let Err(error) = ledger.save(&self.ledger_path) {
                if !std::mem::replace(&mut watch.unsaved, true) {
                    tracing::error!(
                        "{} cannot be written, changes wait: {error}",
                        self.ledger_path.display()
                    );
                }
                return Vec::new();
            }
            self.ledger.store(Arc::new(ledger));
        }
        watch.unsaved = false;
        for change in &changes {
            tracing::info!("{change}");
        }
        changes
    }

    fn folder_was_unreadable(&self, folder: &Folder) -> bool {
        let place = folder.path().display().to_string();
        lock(&self.refused)
            .iter()
            .any(|refusal| refusal.file == place)
    }

    /// Replaces the list of refusals and logs those that are new.
    fn report(&self, refused: BTreeSet<Refusal>) {
        let mut known = lock(&self.refused);
        for refusal in refused.difference(&known) {
            tracing::warn!("not served: {refusal}");
        }
        *known = refused;
    }
}

fn bring_in_line(
    ledger: &mut Ledger,
    folder: &Folder,
    place: &Place,
    now_ms: i64,
) -> (Vec<Change>, BTreeSet<Refusal>) {
    let mut refused: BTreeSet<Refusal> = folder.refused().into_iter().collect();
    let mut changes = ledger.apply_apis(&folder.apis(), &folder.held(), place, now_ms);
    changes.extend(ledger.apply_companions(&folder.companions(), &folder.held(), place, now_ms));
    let consumers = match folder.subscriptions() {
        Subscriptions::Held => return (changes, refused),
        Subscriptions::None => Consumers::default(),
        Subscriptions::Declared(file, declared) => {
            let mut consumers =
                consumers::resolve(declared, &place.environment, |api| ledger.plans_of(api));
            refused.extend(
                std::mem::take(&mut consumers.problems)
                    .into_iter()
                    .map(|problem| problem.in_file(file)),
            );
            consumers
        }
    };
    changes.extend(ledger.apply_consumers(consumers, now_ms));
    (changes, refused)
}

/// Locks; a panic elsewhere leaves values that are still whole, since they are only ever replaced as a whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix milliseconds.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Site {
        root: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            std::fs::create_dir(root.path().join("apis")).expect("a folder");
            std::fs::create_dir(root.path().join("data")).expect("a folder");
            Self { root }
        }

        fn open(&self) -> Gate {
            let place = Place {
                organization: "DEFAULT".to_owned(),
                environment: "DEFAULT".to_owned(),
            };
            Gate::open(
                self.root.path().join("apis"),
                &self.root.path().join("data"),
                place,
            )
            .expect("opened")
        }

        fn write(&self, file: &str, text: &str) {
            std::fs::write(self.root.path().join("apis").join(file), text).expect("written");
        }

        fn remove(&self, file: &str) {
            std::fs::remove_file(self.root.path().join("apis").join(file)).expect("removed");
        }
    }

    fn api(path: &str) -> String {
        format!(
            r#"{{"proxy":{{"virtual_hosts":[{{"path":"{path}"}}]}},"plans":[{{"id":"p","name":"P","security":"API_KEY"}}]}}"#
        )
    }

    fn scan(gate: &Gate) -> Vec<Change> {
        gate.scan(SystemTime::now())
    }

    #[test]
    fn a_companion_that_goes_or_breaks_is_taken_away_or_kept_even_over_a_restart() {
        let site = Site::new();
        std::fs::create_dir(site.root.path().join("apis/dictionaries")).expect("a folder");
        site.write("dictionaries/d.yaml", "properties: {a: b}");
        let gate = site.open();
        assert_eq!(scan(&gate).len(), 1);
        assert!(scan(&gate).is_empty());
        site.write("dictionaries/d.yaml", "properties: [");
        assert!(scan(&gate).is_empty());
        assert_eq!(gate.refused().len(), 1);
        drop(gate);
        let gate = site.open();
        assert!(scan(&gate).is_empty(), "a restart repeats nothing");
        let types = |gate: &Gate| {
            let ledger = gate.ledger();
            let types: Vec<_> = ledger.events().map(|event| event.event_type).collect();
            types
        };
        use crate::bridge::wire::EventType;
        assert_eq!(types(&gate), [EventType::PublishDictionary]);
        site.remove("dictionaries/d.yaml");
        assert_eq!(scan(&gate).len(), 1);
        assert_eq!(types(&gate), [EventType::UnpublishDictionary]);
        assert_eq!(gate.refused(), []);
    }

    #[test]
    fn a_broken_file_keeps_the_last_good_version_even_over_a_restart() {
        let site = Site::new();
        site.write("a.json", &api("/a"));
        let gate = site.open();
        assert_eq!(scan(&gate).len(), 1);
        site.write("a.json", "{ half");
        assert!(scan(&gate).is_empty());
        assert_eq!(gate.refused().len(), 1);
        assert!(gate.ledger().apis["a"].is_published());
        let gate = site.open();
        assert!(scan(&gate).is_empty());
        assert!(gate.ledger().apis["a"].is_published());
        site.write("a.json", &api("/better"));
        assert!(matches!(
            scan(&gate)[..],
            [Change::Published { number: 2, .. }]
        ));
        assert!(gate.refused().is_empty());
    }

    #[test]
    fn a_restart_without_a_change_deploys_nothing_and_a_removal_while_down_is_seen() {
        let site = Site::new();
        site.write("a.json", &api("/a"));
        site.write("b.json", &api("/b"));
        site.write(
            "subscriptions.yaml",
            "- {application: x, api: a, plan: P, keys: [{key: k}]}",
        );
        assert_eq!(scan(&site.open()).len(), 4);
        assert!(scan(&site.open()).is_empty());
        site.remove("b.json");
        assert_eq!(
            scan(&site.open()),
            [Change::Unpublished {
                api: "b".to_owned(),
                number: 2
            }]
        );
    }

    #[test]
    fn a_broken_file_of_subscriptions_closes_nobody_and_a_removed_one_closes_all() {
        let site = Site::new();
        site.write("a.json", &api("/a"));
        site.write("subscriptions.yaml", "- {application: x, api: a, plan: P}");
        let gate = site.open();
        scan(&gate);
        site.write("subscriptions.yaml", "- {application: x, api: a, pla");
        assert!(scan(&gate).is_empty());
        site.remove("subscriptions.yaml");
        let changes = scan(&gate);
        assert!(
            matches!(&changes[..], [Change::Subscription { status, .. }] if status == "CLOSED"),
            "{changes:?}"
        );
    }

    #[test]
    fn a_subscription_waits_for_its_api() {
        let site = Site::new();
        site.write("subscriptions.yaml", "- {application: x, api: a, plan: P}");
        let gate = site.open();
        assert!(scan(&gate).is_empty());
        assert!(gate.refused()[0].to_string().contains("no API has this id"));
        site.write("a.json", &api("/a"));
        assert_eq!(scan(&gate).len(), 2);
        assert!(gate.refused().is_empty());
    }

    #[test]
    fn a_folder_that_is_away_undeploys_nothing() {
        let site = Site::new();
        site.write("a.json", &api("/a"));
        let gate = site.open();
        scan(&gate);
        let (apis, away) = (site.root.path().join("apis"), site.root.path().join("away"));
        std::fs::rename(&apis, &away).expect("moved");
        assert!(scan(&gate).is_empty());
        assert!(gate.refused()[0].reason.contains("cannot be read"));
        std::fs::rename(&away, &apis).expect("moved back");
        assert!(scan(&gate).is_empty());
        assert!(gate.refused().is_empty());
        assert!(gate.ledger().apis["a"].is_published());
    }
}
