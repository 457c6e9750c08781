//! Where a member of a JSON or YAML document is written.

use std::sync::Arc;

use crate::diagnostic::{Place, SourceFile};
use crate::raw::yaml;

/// The place of `member`, a path such as `plans[1].security.type`, in a document; else that of its nearest ancestor that is written there. `None`
/// when not even the first name is, or the text is no JSON and no YAML.
pub fn locate(source: &Arc<SourceFile>, member: &str) -> Option<Place> {
    let document = yaml::parse(source).ok()?;
    let mut path = member;
    loop {
        let leaf = document.leaves.iter().find(|leaf| leaf.key == path);
        if let Some(place) = leaf
            .map(|leaf| &leaf.place)
            .or_else(|| document.keys.get(path))
        {
            return Some(place.clone());
        }
        path = &path[..path.rfind(['.', '['])?];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, member: &str) -> Option<(usize, usize)> {
        locate(&Arc::new(SourceFile::new("a.json", text)), member)
            .map(|place| (place.line, place.column))
    }

    #[test]
    fn a_member_is_found_in_json_and_in_yaml() {
        let json = "{\n  \"id\": \"a\",\n  \"plans\": [ {},\n    { \"security\": { \"type\": \"jwt\" } } ]\n}\n";
        assert_eq!(place(json, "plans[1].security.type"), Some((4, 29)));
        let yaml = "id: a\nplans:\n  - {}\n  - security:\n      type: jwt\n";
        assert_eq!(place(yaml, "plans[1].security.type"), Some((5, 13)));
    }

    #[test]
    fn a_member_that_is_missing_is_placed_at_its_parent() {
        let yaml = "id: a\nproxy:\n  endpoints:\n    - name: x\n";
        assert_eq!(
            place(yaml, "proxy.virtual_hosts").map(|(line, _)| line),
            Some(2)
        );
        assert_eq!(place(yaml, "listeners"), None);
    }
}
