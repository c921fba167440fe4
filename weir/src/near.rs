//! Which names were meant by one that does not exist.

/// How many names are offered.
const OFFERED: usize = 3;

/// What to say after «there is no such KIND»: the names that resemble it, or else some of those there are.
pub(crate) fn instead<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<(usize, &str)> =
        names.into_iter().map(|name| (strsim::damerau_levenshtein(wanted, name), name)).collect();
    names.sort_unstable();
    names.dedup();
    let resembles = |(distance, name): &&(usize, &str)| {
        *distance <= 1 + wanted.chars().count() / 4 || name.contains(wanted) || wanted.contains(name)
    };
    let near: Vec<&str> = names.iter().filter(resembles).map(|(_, name)| *name).take(OFFERED).collect();
    match (near.as_slice(), names.len()) {
        (_, 0) => "there is none at all".to_owned(),
        ([], all) => {
            let some: Vec<&str> = names.iter().map(|(_, name)| *name).take(OFFERED).collect();
            let more = if all > OFFERED { format!(", and {} more", all - OFFERED) } else { String::new() };
            format!("there is {}{more}", some.join(", "))
        }
        (near, _) => format!("did you mean {}?", near.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instead_offers_what_resembles_and_else_what_there_is() {
        let names = ["shop/reviews", "shop/ratings", "shop/details", "shop/web"];
        assert_eq!(instead("shop/reviws", names), "did you mean shop/reviews?");
        assert_eq!(instead("reviews", names), "did you mean shop/reviews?");
        assert_eq!(instead("zzz", ["a", "b"]), "there is a, b");
        assert_eq!(
            instead("zzzzzzzzzzzz", names),
            "there is shop/details, shop/ratings, shop/reviews, and 1 more"
        );
        assert_eq!(instead("x", []), "there is none at all");
    }
}
