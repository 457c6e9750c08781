//! What the kernel grants: affinity mask and cgroup quota. Read once at start.

use std::io;
use std::path::Path;

use super::list::{CPUS_MAX, parse_list};

/// CPU time that a control group may use: `runtime_us` in every `period_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuQuota {
    /// Microseconds of CPU time per period.
    pub runtime_us: u64,
    /// The period, microseconds.
    pub period_us: u64,
}

impl CpuQuota {
    /// The number of CPUs that this is worth.
    pub fn cpus(self) -> f64 {
        self.runtime_us as f64 / self.period_us.max(1) as f64
    }

    /// Workers that can use it up: rounded up, at least one.
    pub(super) fn workers(self) -> usize {
        usize::try_from(self.runtime_us.div_ceil(self.period_us.max(1)))
            .unwrap_or(usize::MAX)
            .max(1)
    }
}

/// What a plan is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct CpuFacts {
    /// CPUs that the scheduler lets us run on; never empty when read from the kernel.
    pub mask: Vec<usize>,
    /// CPUs that the machine has switched on.
    pub online: Vec<usize>,
    /// The tightest quota of our control group and its parents.
    pub quota: Option<CpuQuota>,
}

impl CpuFacts {
    /// Asks the kernel. Only the affinity mask must be readable; files that are missing mean "no quota".
    pub fn read() -> io::Result<Self> {
        let set = rustix::thread::sched_getaffinity(None)?;
        let mask: Vec<usize> = (0..CPUS_MAX).filter(|&cpu| set.is_set(cpu)).collect();
        Ok(Self::with_mask(mask, Path::new("/")))
    }

    /// The facts that files below `root` tell, which is `/` outside tests.
    fn with_mask(mask: Vec<usize>, root: &Path) -> Self {
        let online = read(&root.join("sys/devices/system/cpu/online"));
        let online = online
            .and_then(|text| parse_list(&text).ok())
            .unwrap_or_else(|| mask.clone());
        let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
        let quotas = groups.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
            quota_of_group(root, controllers, group)
        });
        let tightest = quotas.min_by(|left, right| left.cpus().total_cmp(&right.cpus()));
        Self {
            mask,
            online,
            quota: tightest,
        }
    }
}

/// The tightest quota from a control group up to the mount. Inside a container the group's path may be the host's and not
/// exist; then the mount itself is our group.
fn quota_of_group(root: &Path, controllers: &str, group: &str) -> Option<CpuQuota> {
    let (mount, read_quota): (_, fn(&Path) -> Option<CpuQuota>) = if controllers.is_empty() {
        (root.join("sys/fs/cgroup"), version_2)
    } else if controllers.split(',').any(|controller| controller == "cpu") {
        let joined = root.join("sys/fs/cgroup").join(controllers);
        let mount = if joined.is_dir() {
            joined
        } else {
            root.join("sys/fs/cgroup/cpu")
        };
        (mount, version_1)
    } else {
        return None;
    };
    let relative = Path::new(group.trim_start_matches('/'));
    let climbs = relative
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    let own = if climbs { Path::new("") } else { relative };
    own.ancestors()
        .filter_map(|group| read_quota(&mount.join(group)))
        .min_by(|left, right| left.cpus().total_cmp(&right.cpus()))
}

/// `cpu.max`: `max 100000` or `50000 100000`.
fn version_2(group: &Path) -> Option<CpuQuota> {
    let text = read(&group.join("cpu.max"))?;
    let mut words = text.split_whitespace();
    let runtime_us = words.next()?.parse().ok()?;
    let period_us = words
        .next()
        .map_or(Some(100_000), |word| word.parse().ok())?;
    (period_us > 0).then_some(CpuQuota {
        runtime_us,
        period_us,
    })
}

/// `cpu.cfs_quota_us`, -1 for none, and `cpu.cfs_period_us`.
fn version_1(group: &Path) -> Option<CpuQuota> {
    let runtime_us = read(&group.join("cpu.cfs_quota_us"))?.trim().parse().ok()?;
    let period_us = read(&group.join("cpu.cfs_period_us"))?
        .trim()
        .parse()
        .ok()?;
    (runtime_us > 0 && period_us > 0).then_some(CpuQuota {
        runtime_us,
        period_us,
    })
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root folder with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_quota_on_the_way_up_counts() {
        let v2 = [
            ("proc/self/cgroup", "0::/kubepods/pod7/box\n"),
            ("sys/fs/cgroup/kubepods/pod7/box/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/kubepods/pod7/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/kubepods/cpu.max", "400000 100000\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
        ];
        let facts = CpuFacts::with_mask(vec![0, 1], root(&v2).path());
        assert_eq!(facts.online, [0, 1, 2, 3]);
        assert_eq!(
            facts.quota,
            Some(CpuQuota {
                runtime_us: 50_000,
                period_us: 100_000
            })
        );
    }

    #[test]
    fn every_layout_of_control_groups_is_read() {
        let quota = |runtime_us, period_us| {
            Some(CpuQuota {
                runtime_us,
                period_us,
            })
        };
        for (what, files, expected) in [
            ("no files at all", vec![], None),
            (
                "v2, own namespace",
                vec![
                    ("proc/self/cgroup", "0::/\n"),
                    ("sys/fs/cgroup/cpu.max", "150000 100000"),
                ],
                quota(150_000, 100_000),
            ),
            (
                "v2, path of the host",
                vec![
                    ("proc/self/cgroup", "0::/../../box\n"),
                    ("sys/fs/cgroup/cpu.max", "70000 100000"),
                ],
                quota(70_000, 100_000),
            ),
            (
                "v2, no limit",
                vec![
                    ("proc/self/cgroup", "0::/\n"),
                    ("sys/fs/cgroup/cpu.max", "max 100000"),
                ],
                None,
            ),
            (
                "v2, nonsense",
                vec![
                    ("proc/self/cgroup", "0::/\n"),
                    ("sys/fs/cgroup/cpu.max", "many 0"),
                ],
                None,
            ),
            (
                "v1, joined controllers",
                vec![
                    ("proc/self/cgroup", "5:memory:/a\n4:cpu,cpuacct:/a\n"),
                    ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "200000"),
                    ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000"),
                ],
                quota(200_000, 100_000),
            ),
            (
                "v1, group of the host",
                vec![
                    ("proc/self/cgroup", "4:cpu:/docker/1\n"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
                ],
                quota(50_000, 100_000),
            ),
            (
                "v1, no limit",
                vec![
                    ("proc/self/cgroup", "4:cpu:/\n"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
                ],
                None,
            ),
        ] {
            assert_eq!(
                CpuFacts::with_mask(vec![0], root(&files).path()).quota,
                expected,
                "{what}"
            );
        }
    }

    #[test]
    fn this_machine_grants_at_least_one_cpu() {
        let facts = CpuFacts::read().unwrap();
        assert!(!facts.mask.is_empty());
        assert!(!facts.online.is_empty());
    }
}
