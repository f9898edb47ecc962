"""Regular grids as GRIB 2 tells them: what a message says of where its values are."""

from streamer.domain import Grid


def geometry(grid: Grid) -> dict[str, int | None]:
    """Return the keys of a regular grid, north to south, west to east; None is GRIB's missing.

    Angles are millionths of a degree, GRIB 2's own grain; longitudes from 0 to 360.
    """
    east = grid.west + (grid.columns - 1) * grid.spacing_lon
    south = grid.north - (grid.rows - 1) * grid.spacing_lat
    return {
        "basicAngleOfTheInitialProductionDomain": 0,
        "subdivisionsOfBasicAngle": None,
        "Ni": grid.columns,
        "Nj": grid.rows,
        "iDirectionIncrementGiven": 1,
        "jDirectionIncrementGiven": 1,
        "uvRelativeToGrid": 0,
        "latitudeOfFirstGridPoint": round(grid.north * 1e6),
        "longitudeOfFirstGridPoint": round(grid.west % 360 * 1e6) % 360_000_000,
        "latitudeOfLastGridPoint": round(south * 1e6),
        "longitudeOfLastGridPoint": round(east % 360 * 1e6) % 360_000_000,
        "iDirectionIncrement": round(grid.spacing_lon * 1e6),
        "jDirectionIncrement": round(grid.spacing_lat * 1e6),
        "iScansNegatively": 0,
        "jScansPositively": 0,
        "jPointsAreConsecutive": 0,
        "alternativeRowScanning": 0,
    }
