//! Where a symbolic link may point.

use std::path::{Component, Path};

/// Does a link in `directory` (a real directory below the root, no links on the way) stay inside?
///
/// `..` is allowed only at the start of the target: after a name it could step out of wherever that
/// name, itself a link, leads. With every link of a tree checked so, following any of them stays inside.
pub fn stays_inside(directory: &Path, target: &Path) -> bool {
    let depth = directory.components().count();
    let ups = target.components().take_while(|part| matches!(part, Component::ParentDir | Component::CurDir));
    let ups = ups.filter(|part| matches!(part, Component::ParentDir)).count();
    let mut rest = target.components().skip_while(|part| matches!(part, Component::ParentDir | Component::CurDir));
    ups <= depth
        && !target.as_os_str().is_empty()
        && rest.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::stays_inside;

    #[test]
    fn only_leading_parents_within_depth_are_allowed() {
        let inside = |directory: &str, target: &str| stays_inside(Path::new(directory), Path::new(target));
        assert!(inside("", "a/b"));
        assert!(inside("a/b", "../../c"));
        assert!(inside("a", "./../b"));
        assert!(!inside("a", "../../c"));
        assert!(!inside("", "/etc"));
        assert!(!inside("a", "b/../../.."));
        assert!(!inside("", ".."));
        assert!(!inside("", ""));
    }
}
