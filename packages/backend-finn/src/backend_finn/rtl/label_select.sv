/// Gives the indices of the K largest (or smallest) of `Labels` elements, best first, ties to the lowest index.
/// Latency: Labels/PE cycles from the first word in to the first index out. Rate: one word per cycle in; one index per
/// cycle out, K for each frame. Back-pressure: the last word of a frame waits until the indices of the frame before are taken;
/// in_ready_o depends on out_ready_i. Reset clears the counters and out_valid_o; out_data_o is meaningless until the first
/// out_valid_o.
module label_select #(
  parameter int unsigned Labels   = 10,
  parameter int unsigned PE       = 1,     // elements at a time, divides Labels
  parameter int unsigned InBits   = 8,     // bits of an element
  parameter bit          InSigned = 1'b1,
  parameter int unsigned K        = 1,     // indices for each frame, at most Labels
  parameter bit          Largest  = 1'b1,
  parameter int unsigned OutBits  = 4      // bits of an index, holds Labels - 1
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,  // synchronous
  input  logic                 in_valid_i,
  output logic                 in_ready_o,
  input  logic [PE*InBits-1:0] in_data_i,
  output logic                 out_valid_o,
  input  logic                 out_ready_i,
  output logic [OutBits-1:0]   out_data_o
);
  localparam int unsigned ValueBits = InBits + 1;
  localparam int unsigned IndexBits = Labels > 1 ? $clog2(Labels) : 1;
  localparam int unsigned CountBits = $clog2(K + 1);

  if (Labels % PE != 0) begin : gen_wrong_fold
    $error("label_select: PE has to divide Labels");
  end
  if (K == 0 || K > Labels || OutBits < IndexBits) begin : gen_wrong_size
    $error("label_select: K is between 1 and Labels, and OutBits holds an index");
  end

  logic                        first, last, take;
  logic [IndexBits-1:0]        base_q;  // index of lane 0
  logic [K-1:0]                used_q, used_d;
  logic [K-1:0][ValueBits-1:0] value_q, value_d;
  logic [K-1:0][IndexBits-1:0] index_q, index_d;

  assign first = base_q == '0;
  assign last  = base_q == IndexBits'(Labels - PE);

  // The list is sorted, so what beats entry k beats every later one: a new element goes in front of the first it beats.
  always_comb begin
    used_d  = first ? '0 : used_q;
    value_d = value_q;
    index_d = index_q;
    for (int unsigned p = 0; p < PE; p++) begin
      automatic logic signed [ValueBits-1:0] x;
      automatic logic [K-1:0]                beats;
      x = InSigned ? ValueBits'($signed(in_data_i[p*InBits +: InBits]))
                   : $signed(ValueBits'(in_data_i[p*InBits +: InBits]));
      for (int unsigned k = 0; k < K; k++) begin
        beats[k] = ~used_d[k] | (Largest ? x > $signed(value_d[k]) : x < $signed(value_d[k]));
      end
      for (int unsigned n = 0; n < K; n++) begin
        automatic int unsigned k;
        k = K - 1 - n;
        if (beats[k]) begin
          if (k > 0 && beats[k > 0 ? k-1 : 0]) begin
            used_d[k]  = used_d[k > 0 ? k-1 : 0];
            value_d[k] = value_d[k > 0 ? k-1 : 0];
            index_d[k] = index_d[k > 0 ? k-1 : 0];
          end else begin
            used_d[k]  = 1'b1;
            value_d[k] = x;
            index_d[k] = base_q + IndexBits'(p);
          end
        end
      end
    end
  end

  logic [K-1:0][IndexBits-1:0] out_q;
  logic [CountBits-1:0]        left_q;  // indices that are still to be handed out

  assign out_valid_o = left_q != '0;
  assign out_data_o  = OutBits'(out_q[0]);
  assign in_ready_o  = ~last | ~out_valid_o | (left_q == CountBits'(1) & out_ready_i);
  assign take        = in_valid_i & in_ready_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      base_q <= '0;
      left_q <= '0;
    end else begin
      if (take) base_q <= last ? '0 : base_q + IndexBits'(PE);
      if (take & last) left_q <= CountBits'(K);
      else if (out_valid_o & out_ready_i) left_q <= left_q - 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      used_q  <= used_d;
      value_q <= value_d;
      index_q <= index_d;
    end
  end

  for (genvar k = 0; k < K; k++) begin : gen_out
    always_ff @(posedge clk_i) begin
      if (take & last) out_q[k] <= index_d[k];
      else if (k + 1 < K && out_valid_o & out_ready_i) out_q[k] <= out_q[k + 1 < K ? k + 1 : k];
    end
  end
endmodule
