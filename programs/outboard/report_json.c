// SPDX-License-Identifier: BSD-3-Clause
#include "report.h"

#include <jansson.h>
#include <linux/pci_regs.h>
#include <stdio.h>

static json_t *bits_to_json(uint32_t value, const struct config_bit *bits)
{
    json_t *set = json_array();
    for (; bits->name; bits++)
        if (value & bits->mask)
            json_array_append_new(set, json_string(bits->name));
    return set;
}

static json_t *areas_to_json(const struct report *report, unsigned bar)
{
    json_t *areas = json_array();
    for (unsigned i = 0; i < report->num_areas[bar]; i++) {
        const struct ob_client_area *area = &report->areas[bar][i];
        json_array_append_new(areas, json_pack("{s:I, s:I, s:b}", "offset",
                                               (json_int_t)area->offset, "size",
                                               (json_int_t)area->len, "sealed", (int)area->sealed));
    }
    return areas;
}

static json_t *vectors_to_json(const struct report *report)
{
    json_t *vectors = json_object();
    for (unsigned i = 0; i < OB_CLIENT_IRQ_KINDS; i++)
        json_object_set_new(vectors, vector_names[i], json_integer(report->info.vectors[i]));
    return vectors;
}

static json_t *bar_to_json(const struct report *report, unsigned index)
{
    static const char *const kinds[] = {
        [OB_BAR_IO] = "io", [OB_BAR_MEM32] = "mem32", [OB_BAR_MEM64] = "mem64"};
    const struct ob_client_bar *bar = &report->info.bars[index];
    return json_pack("{s:i, s:s, s:b, s:I, s:I, s:o}", "bar", (int)index, "kind", kinds[bar->kind],
                     "prefetchable", (int)(bar->flags & OB_BAR_PREFETCHABLE), "address",
                     (json_int_t)report_bar_address(report, index), "size", (json_int_t)bar->size,
                     "mappable", areas_to_json(report, index));
}

static json_t *bars_to_json(const struct report *report)
{
    json_t *bars = json_array();
    for (unsigned i = 0; i < OB_BAR_COUNT; i++)
        if (report->info.bars[i].kind != OB_BAR_NONE)
            json_array_append_new(bars, bar_to_json(report, i));
    return bars;
}

static json_t *capabilities_to_json(const struct capabilities *capabilities)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < capabilities->count; i++) {
        const struct capability *capability = &capabilities->list[i];
        json_array_append_new(list,
                              json_pack("{s:i, s:i, s:s, s:s}", "offset", (int)capability->offset,
                                        "id", (int)capability->id, "name", capability->name,
                                        "details", capability->details));
    }
    return list;
}

static json_t *to_json(const struct report *report)
{
    const struct ob_client_info *info = &report->info;
    json_t *ids = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "vendor_id",
                            (int)info->vendor_id, "device_id", (int)info->device_id,
                            "subsystem_vendor_id", (int)info->subsystem_vendor_id, "subsystem_id",
                            (int)info->subsystem_id, "class_code", (int)info->class_code,
                            "revision", (int)info->revision, "class", class_name(info->class_code));
    json_t *rest = json_pack(
        "{s:o, s:o, s:i, s:i, s:o, s:b, s:o, s:i, s:b, s:o}", "command",
        bits_to_json(config_get(report->config, PCI_COMMAND, 2), command_bits), "status",
        bits_to_json(config_get(report->config, PCI_STATUS, 2), status_bits), "interrupt_pin",
        (int)report->config[PCI_INTERRUPT_PIN], "interrupt_line",
        (int)report->config[PCI_INTERRUPT_LINE], "bars", bars_to_json(report), "seventh_region",
        (int)report->info.seventh_region, "vectors", vectors_to_json(report), "config_size",
        (int)report->info.config_len, "migratable", (int)report->migrates, "capabilities",
        capabilities_to_json(&report->capabilities));
    if (json_object_update(ids, rest) < 0) {
        json_decref(ids);
        ids = NULL;
    }
    json_decref(rest);
    return ids;
}

int report_print_json(const struct report *report)
{
    json_t *json = to_json(report);
    int err = json ? json_dumpf(json, stdout, JSON_INDENT(2)) : -1;
    json_decref(json);
    putchar('\n');
    return err;
}
