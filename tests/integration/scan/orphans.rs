//! Another program deletes the row of a folder: no song comes of the files that the folder had.

use std::path::PathBuf;

use super::safety::Store;
use super::{Home, Scan, id};

#[test]
fn files_of_a_folder_without_a_row_are_not_those_of_the_next_one() {
    let home = Home::new();
    for store in Store::both(&home) {
        let mut songs: Vec<PathBuf> = ["1.mp3", "a/2.mp3", "b/3.mp3"].map(|name| home.add(name)).to_vec();
        let scan = |only: &[&str]| {
            let mut command = home.command();
            command.arg("-d").arg(store.url()).args(only.is_empty().then(|| home.music()));
            command.args(
                only.iter().flat_map(|name| ["--only".into(), home.music().join(name).into_os_string()]),
            );
            Scan::of(&mut command).assert_exited(0);
        };
        let assert_songs = |songs: &[PathBuf]| {
            let mut expected: Vec<String> = songs.iter().map(|path| id(path)).collect();
            expected.sort();
            let found: Vec<String> = store.songs().into_iter().map(|(id, _)| id).collect();
            assert_eq!(found, expected);
        };
        scan(&[]);
        assert_songs(&songs);
        store.execute("DELETE FROM avalon_folders WHERE id = (SELECT max(id) FROM avalon_folders)");
        // It gets the number of the other one.
        songs.push(home.add("c/4.mp3"));
        for _ in 0..2 {
            scan(&["c"]);
            assert_songs(&songs);
        }
        scan(&[]);
        assert_songs(&songs);
        std::fs::remove_dir_all(home.music().join("c")).expect("a folder");
    }
}
