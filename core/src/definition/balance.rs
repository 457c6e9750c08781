//! Load balancing (contract request-lifecycle 8.7).
//!
//! The reference counts down the remaining picks of every endpoint in shared state. Here the state is one number, the
//! position: what the endpoint of position *p* is can be computed, so that workers share a single relaxed counter and still
//! keep the exact guarantee per cycle for the whole node. No memory depends on the weights. The counter has 64 bits; at a
//! thousand million requests a second it wraps after five centuries, and then one cycle is cut short.

use std::sync::atomic::{AtomicU64, Ordering};

/// Strategy of an endpoint group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balancing {
    /// In definition order, one after another.
    #[default]
    RoundRobin,
    /// Uniformly at random.
    Random,
    /// Exactly `weight` picks per cycle, interleaved.
    WeightedRoundRobin,
    /// Exactly `weight` picks per cycle, in random order.
    WeightedRandom,
}

/// Picks endpoints by index. The position is one relaxed atomic per group, shared by the workers and touched only when the
/// group has more than one endpoint.
#[derive(Debug)]
pub struct LoadBalancer {
    /// Endpoints in use: the primaries, or the secondaries when there is no primary.
    endpoints: Box<[u32]>,
    picker: Picker,
    seed: u64,
    position: AtomicU64,
}

#[derive(Debug)]
enum Picker {
    RoundRobin,
    Random,
    WeightedRoundRobin(Rounds),
    WeightedRandom(Shares),
}

impl LoadBalancer {
    /// A balancer over `endpoints`, given as (weight, secondary) in definition order. Secondaries are used only when there is
    /// no primary, with the same strategy. The random strategies need [`Self::seeded`] to differ between nodes.
    pub fn new(strategy: Balancing, endpoints: &[(u32, bool)]) -> Self {
        Self::with_strategies(strategy, strategy, endpoints)
    }

    /// As [`Self::new`], but as the V2 engines do it: secondaries always take turns.
    pub fn for_v2(strategy: Balancing, endpoints: &[(u32, bool)]) -> Self {
        Self::with_strategies(strategy, Balancing::RoundRobin, endpoints)
    }

    /// The same balancer with its randomness drawn from `seed`. It has no effect on the other strategies.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Index of the endpoint for the next request; `None` when the group has none.
    pub fn next(&self) -> Option<usize> {
        let at = match self.endpoints.len() {
            0 => return None,
            1 => 0,
            count => {
                let position = self.position.fetch_add(1, Ordering::Relaxed);
                self.pick(position, count)
            }
        };
        Some(self.endpoints[at] as usize)
    }

    fn with_strategies(
        primaries: Balancing,
        secondaries: Balancing,
        endpoints: &[(u32, bool)],
    ) -> Self {
        let any_primary = endpoints.iter().any(|(_, secondary)| !secondary);
        let strategy = if any_primary { primaries } else { secondaries };
        let (endpoints, weights): (Vec<u32>, Vec<u32>) = (0..)
            .zip(endpoints)
            .filter(|(_, (_, secondary))| *secondary != any_primary)
            .map(|(index, (weight, _))| (index, (*weight).max(1)))
            .unzip();
        let picker = match strategy {
            Balancing::RoundRobin => Picker::RoundRobin,
            Balancing::Random => Picker::Random,
            Balancing::WeightedRoundRobin => Picker::WeightedRoundRobin(Rounds::new(weights)),
            Balancing::WeightedRandom => Picker::WeightedRandom(Shares::new(&weights)),
        };
        Self {
            endpoints: endpoints.into(),
            picker,
            seed: 0,
            position: AtomicU64::new(0),
        }
    }

    /// Which of `count` endpoints, at least one, has this position.
    fn pick(&self, position: u64, count: usize) -> usize {
        match &self.picker {
            Picker::RoundRobin => (position % count as u64) as usize,
            Picker::Random => below(mix(self.seed ^ mix(position)), count as u64) as usize,
            Picker::WeightedRoundRobin(rounds) => rounds.pick(position),
            Picker::WeightedRandom(shares) => shares.pick(self.seed, position),
        }
    }
}

/// The cycle of weighted round robin. It consists of rounds: in round *r*, counted from 0, every endpoint whose weight is
/// above *r* is picked once, in order. Rounds with the same endpoints form a stretch; there are as many stretches as
/// distinct weights. A pick is a binary search of the stretch and a walk over the weights.
#[derive(Debug)]
struct Rounds {
    weights: Box<[u32]>,
    stretches: Box<[Stretch]>,
    cycle: u64,
}

/// Rounds in which the same endpoints take part: those with a weight above `above`.
#[derive(Debug)]
struct Stretch {
    begin: u64,
    above: u32,
    members: u64,
}

impl Rounds {
    fn new(weights: Vec<u32>) -> Self {
        let mut ascending = weights.clone();
        ascending.sort_unstable();
        let mut stretches = Vec::new();
        let (mut begin, mut above) = (0, 0);
        for (passed, weight) in (0..).zip(&ascending) {
            if *weight > above {
                let members = ascending.len() as u64 - passed;
                stretches.push(Stretch {
                    begin,
                    above,
                    members,
                });
                begin += u64::from(weight - above) * members;
                above = *weight;
            }
        }
        Self {
            weights: weights.into(),
            stretches: stretches.into(),
            cycle: begin,
        }
    }

    fn pick(&self, position: u64) -> usize {
        let position = position % self.cycle;
        let stretch = &self.stretches[self
            .stretches
            .partition_point(|stretch| stretch.begin <= position)
            - 1];
        let turn = (position - stretch.begin) % stretch.members;
        let mut taking_part =
            (0..self.weights.len()).filter(|at| self.weights[*at] > stretch.above);
        taking_part
            .nth(turn as usize)
            .expect("a stretch counts its members")
    }
}

/// The cycle of weighted random: positions are shuffled, afresh in each cycle, and endpoint *i* owns as many of the
/// shuffled numbers as its weight.
#[derive(Debug)]
struct Shares {
    /// Sums of the weights up to and including each endpoint; the last is the length of the cycle.
    ends: Box<[u64]>,
}

impl Shares {
    fn new(weights: &[u32]) -> Self {
        let mut end = 0;
        let ends = weights.iter().map(|weight| {
            end += u64::from(*weight);
            end
        });
        Self {
            ends: ends.collect(),
        }
    }

    fn pick(&self, seed: u64, position: u64) -> usize {
        let cycle = self.ends[self.ends.len() - 1];
        let drawn = shuffled(position % cycle, cycle, mix(seed ^ mix(position / cycle)));
        self.ends.partition_point(|end| *end <= drawn)
    }
}

/// Where `number` goes in a permutation of `0..count` chosen by `key`: a swap-or-not network. In each round a number and its
/// mirror image about a random axis either change places or stay, both at the word of one random bit, so every round is a
/// permutation of exactly `count` numbers, whatever `count` is.
fn shuffled(mut number: u64, count: u64, key: u64) -> u64 {
    // With fewer rounds a chi-square test over the orders of 2 to 5 numbers begins to fail. At small weights a pick takes
    // less than 0.2 µs.
    let rounds = 8 + 2 * u64::from(count.ilog2());
    for round in 0..rounds {
        let random = mix(key.wrapping_add(round));
        let axis = below(random, count);
        let wrapped = if number > axis { count } else { 0 };
        let mirrored = axis + wrapped - number;
        // One bit that both of the pair agree on. A mask costs less than a branch that is mispredicted every other time.
        let coin = (random ^ number.max(mirrored)).wrapping_mul(GOLDEN) >> 63;
        let swap = coin.wrapping_neg();
        number ^= (number ^ mirrored) & swap;
    }
    number
}

/// 2^64 divided by the golden ratio: odd, and its multiples spread evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A uniform number below `count` from 64 random bits.
fn below(random: u64, count: u64) -> u64 {
    ((u128::from(random) * u128::from(count)) >> 64) as u64
}

/// Spreads the bits of a number over all 64 (one step of the generator SplitMix64).
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(GOLDEN);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn primaries(weights: &[u32]) -> Vec<(u32, bool)> {
        weights.iter().map(|weight| (*weight, false)).collect()
    }

    fn picks(balancer: &LoadBalancer, count: usize) -> Vec<usize> {
        (0..count)
            .map(|_| balancer.next().expect("an endpoint"))
            .collect()
    }

    fn counts(picks: &[usize], endpoints: usize) -> Vec<u32> {
        let mut counts = vec![0; endpoints];
        for pick in picks {
            counts[*pick] += 1;
        }
        counts
    }

    /// The strategy as the contract tells it: walk the endpoints, take the first with picks left, restore when all are used.
    fn weighted_round_robin_by_counting_down(weights: &[u32], count: usize) -> Vec<usize> {
        let mut remaining = weights.to_vec();
        let mut at = 0;
        let mut picked = Vec::new();
        while picked.len() < count {
            if remaining.iter().all(|remaining| *remaining == 0) {
                remaining.copy_from_slice(weights);
                at = 0;
            }
            if remaining[at] > 0 {
                remaining[at] -= 1;
                picked.push(at);
            }
            at = (at + 1) % weights.len();
        }
        picked
    }

    #[test]
    fn round_robin_takes_endpoints_in_order() {
        let balancer = LoadBalancer::new(Balancing::RoundRobin, &primaries(&[5, 1, 9]));
        assert_eq!(picks(&balancer, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn an_empty_group_has_no_endpoint_and_a_single_one_is_always_taken() {
        for strategy in [
            Balancing::RoundRobin,
            Balancing::Random,
            Balancing::WeightedRoundRobin,
            Balancing::WeightedRandom,
        ] {
            assert_eq!(LoadBalancer::new(strategy, &[]).next(), None);
            assert_eq!(
                picks(&LoadBalancer::new(strategy, &primaries(&[3])), 4),
                [0; 4]
            );
        }
    }

    #[test]
    fn secondaries_are_used_only_when_there_is_no_primary() {
        let mixed = [(1, true), (1, false), (1, true), (1, false)];
        assert_eq!(
            picks(&LoadBalancer::new(Balancing::RoundRobin, &mixed), 4),
            [1, 3, 1, 3]
        );
        let backups = [(2, true), (1, true)];
        let v4 = LoadBalancer::new(Balancing::WeightedRoundRobin, &backups);
        assert_eq!(picks(&v4, 6), [0, 1, 0, 0, 1, 0]);
        let v2 = LoadBalancer::for_v2(Balancing::WeightedRoundRobin, &backups);
        assert_eq!(picks(&v2, 6), [0, 1, 0, 1, 0, 1]);
        let v2_primary = LoadBalancer::for_v2(Balancing::WeightedRoundRobin, &primaries(&[2, 1]));
        assert_eq!(picks(&v2_primary, 6), [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn weights_three_and_seven_interleave_as_in_the_contract() {
        let balancer = LoadBalancer::new(Balancing::WeightedRoundRobin, &primaries(&[3, 7]));
        let (a, b) = (0, 1);
        let cycle = [a, b, a, b, a, b, b, b, b, b];
        assert_eq!(picks(&balancer, 20), [cycle, cycle].concat());
    }

    #[test]
    fn the_largest_weights_need_no_more_memory_and_no_time() {
        let weights = [u32::MAX, u32::MAX - 1, 0];
        let rounds = LoadBalancer::new(Balancing::WeightedRoundRobin, &primaries(&weights));
        assert_eq!(picks(&rounds, 5), [0, 1, 2, 0, 1], "weight 0 counts as 1");
        let random = LoadBalancer::new(Balancing::WeightedRandom, &primaries(&weights)).seeded(1);
        let counts = counts(&picks(&random, 1_000), 3);
        assert!(counts[0] > 400 && counts[1] > 400, "{counts:?}");
    }

    #[test]
    fn random_is_uniform() {
        let balancer = LoadBalancer::new(Balancing::Random, &primaries(&[1, 9, 1])).seeded(42);
        let counts = counts(&picks(&balancer, 30_000), 3);
        assert!(
            counts.iter().all(|count| (9_600..10_400).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn weighted_random_shuffles_every_cycle_anew() {
        // Three endpoints of weight 1 have six orders; each must come up about as often as the others.
        let balancer =
            LoadBalancer::new(Balancing::WeightedRandom, &primaries(&[1, 1, 1])).seeded(7);
        let mut orders = HashMap::new();
        for _ in 0..12_000 {
            *orders.entry(picks(&balancer, 3)).or_insert(0) += 1;
        }
        assert_eq!(orders.len(), 6);
        assert!(
            orders.values().all(|count| (1_800..2_200).contains(count)),
            "{orders:?}"
        );
    }

    #[test]
    fn the_seed_decides_what_random_picks() {
        for strategy in [Balancing::Random, Balancing::WeightedRandom] {
            let of = |seed| {
                picks(
                    &LoadBalancer::new(strategy, &primaries(&[4, 5, 6])).seeded(seed),
                    64,
                )
            };
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
        }
    }

    #[test]
    fn the_position_may_wrap() {
        for strategy in [
            Balancing::RoundRobin,
            Balancing::WeightedRoundRobin,
            Balancing::WeightedRandom,
        ] {
            let balancer = LoadBalancer::new(strategy, &primaries(&[2, 3, 1]));
            balancer.position.store(u64::MAX - 5, Ordering::Relaxed);
            assert!(picks(&balancer, 12).iter().all(|pick| *pick < 3));
        }
    }

    #[test]
    fn workers_share_one_cycle() {
        let balancer =
            LoadBalancer::new(Balancing::WeightedRandom, &primaries(&[10, 20, 30])).seeded(3);
        let picks: Vec<usize> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| picks(&balancer, 150)))
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().expect("no panic"))
                .collect()
        });
        assert_eq!(counts(&picks, 3), [100, 200, 300]);
    }

    proptest! {
        #[test]
        fn weighted_round_robin_is_what_counting_down_gives(weights in prop::collection::vec(1_u32..12, 2..8)) {
            let cycle: u32 = weights.iter().sum();
            let count = 2 * cycle as usize + 3;
            let balancer = LoadBalancer::new(Balancing::WeightedRoundRobin, &primaries(&weights));
            prop_assert_eq!(picks(&balancer, count), weighted_round_robin_by_counting_down(&weights, count));
        }

        #[test]
        fn weighted_random_picks_exactly_by_weight_in_every_cycle(
            weights in prop::collection::vec(1_u32..40, 2..8),
            seed: u64,
        ) {
            let cycle: u32 = weights.iter().sum();
            let balancer = LoadBalancer::new(Balancing::WeightedRandom, &primaries(&weights)).seeded(seed);
            for _ in 0..3 {
                prop_assert_eq!(&counts(&picks(&balancer, cycle as usize), weights.len()), &weights);
            }
        }

        #[test]
        fn a_shuffle_is_a_permutation(count in 1_u64..300, key: u64) {
            let mut numbers: Vec<u64> = (0..count).map(|number| shuffled(number, count, key)).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }
    }
}
