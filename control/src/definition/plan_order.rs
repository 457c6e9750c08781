//! The order in which the reference tries plans of the same type: the iteration order of a Java `HashMap` (contract
//! api-definition 3.4).

/// Indices of `ids` in the order in which a Java `HashMap` that they were put into would iterate them.
pub(super) fn hash_map_order(ids: &[&str]) -> Vec<usize> {
    let mut buckets: u32 = 16;
    while ids.len() * 4 > buckets as usize * 3 {
        buckets *= 2;
    }
    let mut order: Vec<usize> = (0..ids.len()).collect();
    // The sort is stable: inside one bucket the order of insertion stays.
    order.sort_by_key(|index| {
        let hash = string_hash(ids[*index]);
        (hash ^ (hash >> 16)) & (buckets - 1)
    });
    order
}

/// `String.hashCode`: over UTF-16 units.
fn string_hash(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash: u32, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_codes_are_those_of_java_strings() {
        assert_eq!(string_hash(""), 0);
        assert_eq!(string_hash("a"), 97);
        assert_eq!(string_hash("Aa"), string_hash("BB"));
        assert_eq!(string_hash("hello") as i32, 99_162_322);
        assert_eq!(string_hash("polygenelubricants") as i32, i32::MIN);
    }

    #[test]
    fn plans_are_iterated_by_bucket_and_then_by_insertion() {
        // 'a' = 97 = bucket 1, 'b' bucket 2, 'p' = 112 = bucket 0; "Aa" and "BB" collide in bucket 0 (2112 = 0x840).
        assert_eq!(hash_map_order(&["b", "a", "p"]), [2, 1, 0]);
        assert_eq!(hash_map_order(&["b", "BB", "Aa"]), [1, 2, 0]);
        assert_eq!(hash_map_order(&["Aa", "BB"]), [0, 1]);
    }

    #[test]
    fn the_table_grows_when_it_is_more_than_three_quarters_full() {
        // 12 entries fit 16 buckets: "1" (49) and "A" (65) share bucket 1. With 13 there are 32 buckets: 17 and 1.
        let mut ids = vec!["1", "A", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
        let before = hash_map_order(&ids);
        assert!(position(&before, 0) < position(&before, 1));
        ids.push("l");
        let after = hash_map_order(&ids);
        assert!(position(&after, 0) > position(&after, 1));
    }

    fn position(order: &[usize], wanted: usize) -> usize {
        order
            .iter()
            .position(|index| *index == wanted)
            .expect("every index is in the order")
    }
}
