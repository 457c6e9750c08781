//! CPU lists as the kernel writes them: `0-3,8`.

/// Highest CPU number plus one that a list may name; what the kernel's default affinity mask holds.
pub const CPUS_MAX: usize = 1_024;

/// Why a text is no CPU list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// Nothing is listed.
    #[error("expected a list of CPUs, found nothing")]
    Empty,
    /// A part is neither a number nor a range.
    #[error("expected a CPU or a range such as `0-3`, found {0:?}")]
    NotACpu(String),
    /// A range runs backwards.
    #[error("expected a range from low to high, found {0:?}")]
    Backwards(String),
    /// A CPU has too high a number.
    #[error("expected CPUs below {CPUS_MAX}, found {0}")]
    TooHigh(usize),
    /// A CPU stands there twice.
    #[error("expected every CPU once, found {0} twice")]
    Twice(usize),
}

/// Parses a CPU list; the order is kept, because it is the order of the workers.
pub fn parse_list(text: &str) -> Result<Vec<usize>, CpuListError> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').map(str::trim) {
        if part.is_empty() {
            return Err(if text.trim().is_empty() {
                CpuListError::Empty
            } else {
                CpuListError::NotACpu(part.to_owned())
            });
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, part)?, number(last, part)?);
        if first > last {
            return Err(CpuListError::Backwards(part.to_owned()));
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(CpuListError::Twice(cpu));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

fn number(text: &str, part: &str) -> Result<usize, CpuListError> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let not_a_cpu = || CpuListError::NotACpu(part.chars().take(40).collect());
    let number: usize = if digits {
        text.parse().map_err(|_| not_a_cpu())?
    } else {
        return Err(not_a_cpu());
    };
    if number >= CPUS_MAX {
        Err(CpuListError::TooHigh(number))
    } else {
        Ok(number)
    }
}

/// Writes a list the short way: `0-3,8`.
pub fn format_list(cpus: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let parts = parts.iter().map(|&(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read_as_the_kernel_writes_them() {
        for (text, cpus) in [
            ("0", Ok(vec![0])),
            ("0-3,8", Ok(vec![0, 1, 2, 3, 8])),
            (" 8 , 2-3 ", Ok(vec![8, 2, 3])),
            ("1023", Ok(vec![1_023])),
            ("", Err(CpuListError::Empty)),
            ("0,", Err(CpuListError::NotACpu(String::new()))),
            ("a-b", Err(CpuListError::NotACpu("a-b".to_owned()))),
            ("1-2-3", Err(CpuListError::NotACpu("1-2-3".to_owned()))),
            ("-1", Err(CpuListError::NotACpu("-1".to_owned()))),
            ("3-1", Err(CpuListError::Backwards("3-1".to_owned()))),
            ("0-2,1", Err(CpuListError::Twice(1))),
            ("1024", Err(CpuListError::TooHigh(1_024))),
            (
                "99999999999999999999",
                Err(CpuListError::NotACpu("99999999999999999999".to_owned())),
            ),
        ] {
            assert_eq!(parse_list(text), cpus, "{text:?}");
        }
    }

    #[test]
    fn a_list_is_written_the_short_way_and_read_back() {
        for text in ["0", "0-3,8", "8,2-3", "1,3,5"] {
            assert_eq!(format_list(&parse_list(text).unwrap()), text);
        }
    }
}
