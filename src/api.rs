//! The vocabulary of the API: it defines the name of each endpoint, parameter and field once.
//!
//! The rooms share these types, so that the snapshot, the worker, the scoreboard and telemetry agree without
//! knowing each other. The only logic here is about names. A test compares the tables of docs/api.md with
//! them.

use crate::model::{Kind, Owner};

/// A resource under `REQUEST_PATH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// The version, as text.
    Version,
    /// A constant that says that the server serves.
    Heartbeat,
    /// The server's state, as JSON.
    Status,
    /// The server's state, for Prometheus.
    Metrics,
    /// A list of entities.
    List(Kind),
    /// One entity, by its id.
    Entity(Kind),
    /// The description of the API for programs.
    OpenApi,
    /// The same for people.
    Docs,
    /// The page that shows the lists.
    Page,
}

impl Endpoint {
    /// All endpoints. The position of an endpoint in this list is its number on the scoreboard.
    pub const ALL: [Endpoint; 15] = [
        Endpoint::Version,
        Endpoint::Heartbeat,
        Endpoint::Status,
        Endpoint::Metrics,
        Endpoint::List(Kind::Of(Owner::Album)),
        Endpoint::List(Kind::Of(Owner::Artist)),
        Endpoint::List(Kind::Of(Owner::Genre)),
        Endpoint::List(Kind::Song),
        Endpoint::Entity(Kind::Of(Owner::Album)),
        Endpoint::Entity(Kind::Of(Owner::Artist)),
        Endpoint::Entity(Kind::Of(Owner::Genre)),
        Endpoint::Entity(Kind::Song),
        Endpoint::OpenApi,
        Endpoint::Docs,
        Endpoint::Page,
    ];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Endpoint::Version => "version",
            Endpoint::Heartbeat => "heartbeat",
            Endpoint::Status => "status",
            Endpoint::Metrics => "metrics",
            Endpoint::List(kind) => kind.plural(),
            Endpoint::Entity(kind) => kind.singular(),
            Endpoint::OpenApi => "openapi",
            Endpoint::Docs => "docs",
            Endpoint::Page => "page",
        }
    }

    /// Its path below `REQUEST_PATH`, without a slash in front. The path of the page is empty; `{id}` stands
    /// for any id.
    pub const fn path(self) -> &'static str {
        match self {
            Endpoint::Entity(Kind::Of(Owner::Album)) => "albums/{id}",
            Endpoint::Entity(Kind::Of(Owner::Artist)) => "artists/{id}",
            Endpoint::Entity(Kind::Of(Owner::Genre)) => "genres/{id}",
            Endpoint::Entity(Kind::Song) => "songs/{id}",
            Endpoint::OpenApi => "openapi.json",
            Endpoint::Page => "",
            other => other.name(),
        }
    }
}

/// A parameter of a query string that the lists understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// Words that a name holds.
    Query,
    /// Beginnings of words that names hold, in any order.
    Words,
    /// The field to sort by.
    Order,
    /// The direction of the order.
    Direction,
    /// The largest number of entities in the answer.
    Limit,
    /// The number of entities to skip.
    Offset,
    /// The name of the album, artist or genre of songs.
    Name(Owner),
    /// The id of the album, artist or genre of songs; of other entities, that of one of their songs.
    Id(Owner),
    /// The id of the entity itself.
    OwnId,
    /// `query` for songs: the album, artist or genre must have a song that matches.
    SongQuery,
    /// `words` for songs: the album, artist or genre must have a song that matches.
    SongWords,
    /// Whether to count the songs of each entity.
    Counts,
    /// Whether to count all entities that match.
    Total,
    /// The hash of the collection that the client has begun to read.
    Snapshot,
}

impl Parameter {
    /// All parameters.
    pub const ALL: [Parameter; 18] = [
        Parameter::Query,
        Parameter::Words,
        Parameter::Order,
        Parameter::Direction,
        Parameter::Limit,
        Parameter::Offset,
        Parameter::Name(Owner::Album),
        Parameter::Name(Owner::Artist),
        Parameter::Name(Owner::Genre),
        Parameter::Id(Owner::Album),
        Parameter::Id(Owner::Artist),
        Parameter::Id(Owner::Genre),
        Parameter::OwnId,
        Parameter::SongQuery,
        Parameter::SongWords,
        Parameter::Counts,
        Parameter::Total,
        Parameter::Snapshot,
    ];

    /// Its name in a query string.
    pub const fn name(self) -> &'static str {
        match self {
            Parameter::Query => "query",
            Parameter::Words => "words",
            Parameter::Order => "order",
            Parameter::Direction => "direction",
            Parameter::Limit => "limit",
            Parameter::Offset => "offset",
            Parameter::Name(owner) => owner.singular(),
            Parameter::Id(owner) => Field::id_of(owner).name(),
            Parameter::OwnId => Field::Id.name(),
            Parameter::SongQuery => "song_query",
            Parameter::SongWords => "song_words",
            Parameter::Counts => "counts",
            Parameter::Total => "total",
            Parameter::Snapshot => "snapshot",
        }
    }

    /// The parameter called `name`.
    pub fn parse(name: &str) -> Option<Parameter> {
        Parameter::ALL.into_iter().find(|parameter| parameter.name() == name)
    }

    /// Whether the list of `kind` accepts it.
    pub const fn is_of(self, kind: Kind) -> bool {
        match self {
            Parameter::Name(_) => matches!(kind, Kind::Song),
            Parameter::SongQuery | Parameter::SongWords | Parameter::Counts => matches!(kind, Kind::Of(_)),
            _ => true,
        }
    }

    /// The parameter with the most similar name, if one is similar enough to be meant.
    pub fn nearest(name: &str, kind: Kind) -> Option<Parameter> {
        let name = name.to_lowercase();
        let likeness = |parameter: &Parameter| strsim::jaro_winkler(parameter.name(), &name);
        let like = Parameter::ALL.into_iter().filter(|of| of.is_of(kind) && likeness(of) > 0.8);
        like.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
    }
}

/// A direction of an order. Equal values stay in default order in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Small to great.
    Ascending,
    /// Great to small.
    Descending,
}

impl Direction {
    /// Both directions, the default first.
    pub const ALL: [Direction; 2] = [Direction::Ascending, Direction::Descending];

    /// Its name in a query string.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Ascending => "asc",
            Direction::Descending => "desc",
        }
    }

    /// The direction called `name`.
    pub fn parse(name: &str) -> Option<Direction> {
        Direction::ALL.into_iter().find(|direction| direction.name() == name)
    }
}

/// A field of an entity. The snapshot format uses the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Field {
    Id = 0,
    Name = 1,
    Length = 2,
    Track = 3,
    Year = 4,
    Album = 5,
    AlbumId = 6,
    Artist = 7,
    ArtistId = 8,
    Genre = 9,
    GenreId = 10,
}

impl Field {
    /// All fields of a song, in the order of their numbers and of the JSON text.
    pub const ALL: [Field; 11] = [
        Field::Id,
        Field::Name,
        Field::Length,
        Field::Track,
        Field::Year,
        Field::Album,
        Field::AlbumId,
        Field::Artist,
        Field::ArtistId,
        Field::Genre,
        Field::GenreId,
    ];

    /// The field called `name`, if entities of `kind` have such a field.
    pub fn parse(kind: Kind, name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.name() == name && field.is_of(kind))
    }

    /// Whether entities of `kind` have this field.
    pub const fn is_of(self, kind: Kind) -> bool {
        matches!(kind, Kind::Song) || matches!(self, Field::Id | Field::Name)
    }

    /// Its name in JSON and as a value of `order`.
    pub const fn name(self) -> &'static str {
        match self {
            Field::Id => "id",
            Field::Name => "name",
            Field::Length => "length",
            Field::Track => "track",
            Field::Year => "year",
            Field::Album => Owner::Album.singular(),
            Field::AlbumId => "album_id",
            Field::Artist => Owner::Artist.singular(),
            Field::ArtistId => "artist_id",
            Field::Genre => Owner::Genre.singular(),
            Field::GenreId => "genre_id",
        }
    }

    /// The kind of owner that gives a song's value of the field.
    pub const fn owner(self) -> Option<Owner> {
        match self {
            Field::Album | Field::AlbumId => Some(Owner::Album),
            Field::Artist | Field::ArtistId => Some(Owner::Artist),
            Field::Genre | Field::GenreId => Some(Owner::Genre),
            Field::Id | Field::Name | Field::Length | Field::Track | Field::Year => None,
        }
    }

    /// The field of a song that holds the name of its owner.
    pub const fn name_of(owner: Owner) -> Field {
        match owner {
            Owner::Album => Field::Album,
            Owner::Artist => Field::Artist,
            Owner::Genre => Field::Genre,
        }
    }

    /// The field of a song that holds the id of its owner.
    pub const fn id_of(owner: Owner) -> Field {
        match owner {
            Owner::Album => Field::AlbumId,
            Owner::Artist => Field::ArtistId,
            Owner::Genre => Field::GenreId,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../docs/api.md");

    /// The words in backquotes in a cell.
    fn quoted(cell: &str) -> impl Iterator<Item = &str> {
        cell.split('`').skip(1).step_by(2)
    }

    /// The cells of each row of the table below `head`.
    fn table<'t>(text: &'t str, head: &str) -> Vec<Vec<&'t str>> {
        let (_, table) = text.split_once(head).expect("the table");
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('|').skip(1).map(str::trim).collect()).collect()
    }

    #[test]
    fn numbers_are_places() {
        for (place, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, place);
        }
        for owner in Owner::ALL {
            assert_eq!(Field::name_of(owner).owner(), Some(owner));
            assert_eq!(Field::id_of(owner).owner(), Some(owner));
        }
    }

    #[test]
    fn names_are_parsed() {
        for parameter in Parameter::ALL {
            assert_eq!(Parameter::parse(parameter.name()), Some(parameter));
        }
        for field in Field::ALL {
            assert_eq!(Field::parse(Kind::Song, field.name()), Some(field));
        }
        assert_eq!(Field::parse(Kind::Of(Owner::Genre), "id"), Some(Field::Id));
        assert_eq!(Field::parse(Kind::Of(Owner::Genre), "year"), None);
        assert_eq!(Parameter::parse("Query"), None);
        assert_eq!(Direction::parse("desc"), Some(Direction::Descending));
        assert_eq!(Direction::parse("descending"), None);
    }

    #[test]
    fn the_page_names_exactly_the_endpoints_and_the_fields_of_each() {
        let rows = table(PAGE, "\n| endpoint | answer |\n");
        let named: Vec<&str> = rows.iter().flat_map(|row| quoted(row[0])).collect();
        let expected = Endpoint::ALL.map(|endpoint| format!("/avalon/{}", endpoint.path()));
        assert_eq!(named, expected.each_ref().map(String::as_str));
        let songs = rows.iter().find(|row| row[0] == "`/avalon/songs`").expect("the row of songs");
        let fields = songs[1].trim_end_matches(" of each").split(", ");
        let fields: Vec<&str> = fields.map(|field| field.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(fields, Field::ALL.map(Field::name));
    }

    #[test]
    fn the_page_names_exactly_the_parameters() {
        let rows = table(PAGE, "\n| parameter | for | meaning |\n");
        let mut named = Vec::new();
        for row in &rows {
            for name in quoted(row[0]) {
                let parameter = Parameter::parse(name).unwrap_or_else(|| panic!("no parameter {name}"));
                let lists = match row[1] {
                    "all" => &Kind::ALL[..],
                    "songs" => &[Kind::Song],
                    "all but songs" => &Kind::ALL[..3],
                    other => panic!("{other}"),
                };
                let of_parameter = Kind::ALL.into_iter().filter(|kind| parameter.is_of(*kind));
                assert_eq!(of_parameter.collect::<Vec<_>>(), lists, "{name}");
                named.push(parameter);
            }
        }
        assert!(Parameter::ALL.iter().all(|parameter| named.contains(parameter)), "{named:?}");
        assert_eq!(named.len(), Parameter::ALL.len());
        let order = rows.iter().find(|row| row[0].contains("direction")).expect("the row of directions");
        assert_eq!(quoted(order[2]).collect::<Vec<_>>(), Direction::ALL.map(Direction::name));
    }
}
