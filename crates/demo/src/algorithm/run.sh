#!/bin/sh
# The demonstration's algorithm: counts, at each stop, the patients that the query asks for, and adds a line to what the stops
# before have left.
set -eu

train=/opt/pht_train
results=/opt/pht_results
. "$train/lib/count.sh"

wanted=$(condition <"$train/query.json")
records=$(($(wc -l <"$TRAIN_DATA_PATH") - 1))
matching=$(matching "$wanted" <"$TRAIN_DATA_PATH" | wc -l)

[ -f "$results/counts.csv" ] || echo "station,records,matching" >"$results/counts.csv"
echo "$STATION_ID,$records,$matching" >>"$results/counts.csv"

mkdir -p "$results/stations/$STATION_ID"
matching "$wanted" <"$TRAIN_DATA_PATH" | by_decade >"$results/stations/$STATION_ID/ages.csv"
echo "result-$mark" >"$results/stations/$STATION_ID/mark.txt"
