//! The synchronizer against a fake control plane (contract sync 12).

mod cycles;
mod keys;
mod outages;
mod restored;
mod samples;
mod snapshots;
mod support;
mod surroundings;

pub(crate) use support::settings as test_settings;
